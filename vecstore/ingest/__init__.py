"""Records in: from the caller's arrays to rows."""

"""A client of VectorDBBench: what `drop_in` copies into its `backend/clients/vecstore`."""

"""Segments: immutable folders of records, and the bytes they are made of."""

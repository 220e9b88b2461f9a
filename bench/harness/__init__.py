"""Hooks by which benchmarks that others maintain run vecstore; see README.md here."""

"""Rebuild what can be rebuilt of a damaged database, and say what is lost."""

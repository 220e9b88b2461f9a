"""The suites: each yields tables of figures."""

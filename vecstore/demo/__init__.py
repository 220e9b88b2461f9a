"""The demo: search the functions of Python's standard library by their docstrings."""

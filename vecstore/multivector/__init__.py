"""Sets of vectors: which tokens of a record are kept, which become one, and in what order.

Pure functions of arrays; nothing here knows a database.
"""

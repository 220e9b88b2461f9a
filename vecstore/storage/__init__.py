"""The only code that touches files and LMDB.

Nothing here knows what a record is: it names files, moves bytes and turns what the machine says
into typed errors.
"""

"""Copies of a whole database: made while it is written, and brought back.

    contents    what a database consists of: its LMDB says so
    directory   a directory that appears when it is whole
    manifest    what a snapshot in an object store consists of
    objects     the object store
    parallel    many files at once
    snapshot    database -> directory or object store
    origins     what a restored database comes from
    restore     directory or object store -> database

FORMAT.md draws what lies where.
"""

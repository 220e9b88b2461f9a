"""The stages of a cascade: each takes candidates and hands on fewer, better scored ones."""

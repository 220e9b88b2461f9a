"""`python -m vecstore.cli`: the command line, wherever its script is."""

from __future__ import annotations

from vecstore.cli import main

if __name__ == "__main__":
    main()

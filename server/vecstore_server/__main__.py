"""`python -m vecstore_server DIR`: serve a directory. The token is read from VECSTORE_TOKEN."""

from __future__ import annotations

import argparse
import os
import sys

from vecstore.errors import VecstoreError
from vecstore.options import DEFAULT_PORT
from vecstore_server.app import configure_logging, run


def main() -> int:
    """Parse the arguments and serve; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m vecstore_server", description=__doc__)
    parser.add_argument("path", help="the directory of the database")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="the port; 0 for any")
    parser.add_argument(
        "--snapshots",
        metavar="DIR_OR_URL",
        help="where the snapshots that clients ask for are made",
    )
    arguments = parser.parse_args()
    configure_logging()
    token = os.environ.get("VECSTORE_TOKEN")
    try:
        run(
            arguments.path,
            arguments.host,
            arguments.port,
            token,
            snapshots=arguments.snapshots,
        )
    except VecstoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

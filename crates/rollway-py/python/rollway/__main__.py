"""``python -m rollway``: the command line."""

from __future__ import annotations

import os
import sys

from ._transport import program


def main() -> None:
    """Becomes the program that comes with this package."""
    path = program()
    try:
        os.execv(path, [path, *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"error: could not run {path}: {error}")


if __name__ == "__main__":
    main()

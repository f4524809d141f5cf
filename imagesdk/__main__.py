"""``python -m imagesdk``: the command line."""

import sys

from imagesdk.cli.main import main

__all__ = ()

if __name__ == "__main__":
    sys.exit(main())

"""``python -m imagesdk``: the command line."""

import sys

from imagesdk.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

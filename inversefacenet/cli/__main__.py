"""`python -m inversefacenet.cli`."""

import sys

from inversefacenet.cli import main

if __name__ == "__main__":
    sys.exit(main())

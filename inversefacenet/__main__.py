"""``python -m inversefacenet``: the command line."""

from inversefacenet.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

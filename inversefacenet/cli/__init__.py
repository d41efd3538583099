"""The command line: `inversefacenet reconstruct`, `edit`, `batch`, `track`, `render` and others.

Exit codes: 0 all went well; 1 something failed (of many photos: at least one); 2 the command itself is
wrong; 130 interrupted. Results go to standard output, problems and progress to standard error.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from inversefacenet import __version__
from inversefacenet.cli import batch, edit, import_model, reconstruct, render, sample, sheet, track
from inversefacenet.cli.output import complain, describe

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; nothing heavy is imported for it."""
    parser = argparse.ArgumentParser(
        prog="inversefacenet",
        description="Face pose, shape, expression, skin reflectance and light from one photograph.",
        epilog="Exit codes: 0 all went well, 1 something failed, 2 the command is wrong.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show where an error comes from")
    for command in (reconstruct, edit, batch, track, render, sample, sheet, import_model):
        command.add_parser(commands, common)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line without the program's name; by default the process's own.

    Returns:
        The exit code. A command that can't be parsed raises SystemExit(2), as argparse does.
    """
    options = build_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        return code
    except KeyboardInterrupt:
        complain("interrupted")
        return EXIT_INTERRUPTED
    except Exception as error:  # A command line answers in one line, whatever happens.
        if options.debug:
            raise
        complain(describe(error))
        return EXIT_FAILED

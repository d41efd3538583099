"""The command ``python -m benchmarks.load``; its last line holds name=value pairs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.load.command import Options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    from benchmarks.machine import set_threads

    values = _parser().parse_args(arguments)
    # The workers are the parallelism, with a service and without. Set before numerical libraries are loaded.
    set_threads(1)
    from benchmarks.load.children import ChildError
    from benchmarks.load.command import run
    from benchmarks.load.servers import ServerError
    from inversefacenet.errors import InverseFaceNetError

    try:
        print(run(_options(values)))
    except (InverseFaceNetError, ServerError, ChildError) as error:
        print(f"benchmarks.load: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description="Measure the service under load."
    )
    parser.add_argument(
        "--photos",
        type=Path,
        nargs="+",
        default=[Path("examples", "astronaut.png")],
        help="photos with a face",
    )
    parser.add_argument("--workers", type=int, default=0, help="by default one for each core")
    parser.add_argument("--threads", type=int, default=1, help="threads of one inference, everywhere")
    parser.add_argument("--rounds", type=int, default=20, help="turns of one caller (at least 15 to report)")
    parser.add_argument("--calls", type=int, default=5, help="photos in such a turn")
    parser.add_argument("--rate-rounds", type=int, default=5, help="turns at 32 callers")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of each load")
    parser.add_argument("--warm-up", type=float, default=2.0, help="seconds before those")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--shares", type=float, nargs="*", default=[0.5, 0.8], help="of open loops")
    parser.add_argument("--no-triton", action="store_true", help="leave Triton out")
    parser.add_argument("--quick", action="store_true", help="a run of a minute that proves nothing")
    parser.add_argument("--output-dir", type=Path, default=Path("out", "bench-load"))
    return parser


def _options(values: argparse.Namespace) -> Options:
    from benchmarks.load.command import Options
    from benchmarks.machine import available_cores
    from inversefacenet.errors import InputError

    positive = (
        values.threads,
        values.calls,
        values.rate_rounds,
        values.seconds,
        *values.callers,
        *values.shares,
    )
    if values.rounds < 2 or values.workers < 0 or values.warm_up < 0 or any(value <= 0 for value in positive):
        raise InputError("--rounds must be 2 or more, --workers and --warm-up 0 or more, the others above 0.")
    quick = values.quick
    return Options(
        photos=tuple(values.photos),
        workers=values.workers or available_cores(),
        threads=values.threads,
        rounds=2 if quick else values.rounds,
        calls=2 if quick else values.calls,
        rate_rounds=1 if quick else values.rate_rounds,
        seconds=1.5 if quick else values.seconds,
        warm_up=0.5 if quick else values.warm_up,
        callers=(1, 4) if quick else tuple(values.callers),
        shares=(0.5,) if quick else tuple(values.shares),
        triton=not values.no_triton,
        output=values.output_dir,
    )


if __name__ == "__main__":
    raise SystemExit(main())

"""The command ``python -m benchmarks``; its last line holds name=value pairs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Time each stage beside its floor."
    )
    parser.add_argument("--photo", type=Path, default=Path("examples", "astronaut.png"))
    parser.add_argument("--network", type=Path, help="an exported network; by default the shipped one")
    parser.add_argument("--face-model", type=Path, help="a face model; by default the shipped one")
    parser.add_argument("--threads", type=int, default=0, help="by default all cores")
    parser.add_argument(
        "--rounds", type=int, default=15, help="turns of each candidate (at least 15 to report)"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[250, 512, 1500, 3000], help="sides of square photos"
    )
    parser.add_argument("--output-dir", type=Path, default=Path("out", "bench"))
    values = parser.parse_args(arguments)
    if values.rounds < 2 or values.threads < 0 or any(side < 1 for side in values.sizes):
        parser.error("--rounds must be 2 or more, --threads 0 or more, --sizes 1 or more.")

    from benchmarks.machine import set_threads

    if values.threads:
        set_threads(values.threads)
    # Only now: numerical libraries read the number of their threads when they are imported.
    from benchmarks.command import Options, run
    from inversefacenet.errors import InverseFaceNetError

    options = Options(
        photo=values.photo,
        network=values.network,
        face_model=values.face_model,
        threads=values.threads,
        rounds=values.rounds,
        sides=tuple(values.sizes),
        output=values.output_dir,
    )
    try:
        print(run(options))
    except InverseFaceNetError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

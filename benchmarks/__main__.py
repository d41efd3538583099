"""The command ``python -m benchmarks``; its last line holds name=value pairs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.baseline import COMMITTED


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time all stages beside their floors, a whole photo beside the sum of its stages and "
        "beside other software, the service, start-up, memory and many photos; compare with the last "
        "committed run. Slower than that is said, and no failure.",
    )
    parser.add_argument("--photo", type=Path, default=Path("examples", "astronaut.png"))
    parser.add_argument("--network", type=Path, help="an exported network; by default the embedded one")
    parser.add_argument("--reference", type=Path, help="another network than the reference")
    parser.add_argument("--face-model", type=Path, help="a face model; by default the shipped one")
    parser.add_argument("--threads", type=int, default=0, help="by default all cores")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes: a minute or two")
    parser.add_argument("--rounds", type=int, help="turns of each candidate (default: 15; quick: 7)")
    parser.add_argument(
        "--sizes", type=int, nargs="*", help="sides of square photos (default: 250 512 1500 3000; quick: 512)"
    )
    parser.add_argument(
        "--price-per-core-hour", type=float, help="in any currency; by default an assumption, see the result"
    )
    parser.add_argument(
        "--photos", type=Path, nargs="*", default=[], help="folders for recall; by default composed photos"
    )
    parser.add_argument("--mediapipe-python", type=Path, help="a Python in which MediaPipe 0.10 is installed")
    parser.add_argument("--baseline", type=Path, default=COMMITTED, help="results to compare with")
    parser.add_argument("--save-baseline", action="store_true", help="write that file anew")
    parser.add_argument("--add-to-baseline", action="store_true", help="add this run to those in that file")
    parser.add_argument("--output-dir", type=Path, default=Path("out", "bench"))
    values = parser.parse_args(arguments)
    rounds = values.rounds if values.rounds is not None else 7 if values.quick else 15
    sides = values.sizes if values.sizes is not None else [512] if values.quick else [250, 512, 1500, 3000]
    if rounds < 2 or values.threads < 0 or any(side < 1 for side in sides):
        parser.error("--rounds must be 2 or more, --threads 0 or more, --sizes 1 or more.")

    from benchmarks.machine import set_threads

    if values.threads:
        set_threads(values.threads)
    # Only now: numerical libraries read the number of their threads when they are imported.
    from benchmarks.batch import PRICE_PER_CORE_HOUR
    from benchmarks.command import Options, run
    from inversefacenet.errors import InverseFaceNetError

    price = values.price_per_core_hour
    options = Options(
        photo=values.photo,
        network=values.network,
        reference=values.reference,
        face_model=values.face_model,
        threads=values.threads,
        rounds=rounds,
        sides=tuple(sides),
        processes=2 if values.quick else 5,
        corpus_rounds=2 if values.quick else 5,
        batch_rounds=1 if values.quick else 3,
        batch_seconds=4 if values.quick else 8,
        price_per_core_hour=PRICE_PER_CORE_HOUR if price is None else price,
        photos=tuple(values.photos),
        mediapipe=values.mediapipe_python,
        baseline=values.baseline,
        save_baseline=values.save_baseline,
        add_to_baseline=values.add_to_baseline,
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

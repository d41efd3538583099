"""Edits of a photo at an interactive rate, beside rendering alone: ``python -m benchmarks.editing``.

Every call is another edit, as a slider that is being dragged makes them, so that nothing is answered from
memory. "relight" and "skin" leave the geometry alone, "pose" and "expression" don't. The last line holds
name=value pairs: edit_SIZE_ms is the slowest kind's median, edit_SIZE_ratio that over rendering the same face
at that size.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from inversefacenet.editing import PhotoEditor

SIZES: Final = (240, 512)
LIMITS_MS: Final = {240: 15.0, 512: 40.0}
_STEPS: Final = 97

Spec = list[dict[str, Any]]
_KINDS: Final[dict[str, Callable[[float], Spec]]] = {
    "relight": lambda share: [{"edit": "relight", "light": "left", "strength": share}],
    "skin": lambda share: [{"edit": "skin", "tone": 2 * share - 1}],
    "pose": lambda share: [{"edit": "pose", "yaw": 15 * share + 0.5}],
    "expression": lambda share: [{"edit": "expression", "units": {"jawOpen": share}}],
}


def slider(editor: PhotoEditor, spec: Callable[[float], Spec], size: int) -> Callable[[], object]:
    """Return a call that moves a slider one step on and makes the preview, the parsing included."""
    from inversefacenet.editing import parse_edits

    steps = itertools.cycle(step / _STEPS for step in range(1, _STEPS))

    def move() -> object:
        return editor.preview(parse_edits(spec(next(steps)), editor.reconstruction.model), size)

    return move


def run(photo: Path, rounds: int, clock: Callable[[], float]) -> str:
    """Time all kinds of edits at all sizes and print a row each.

    Args:
        photo: A photo with a face.
        rounds: Turns of each edit.
        clock: Seconds: of the wall, or of this process alone.

    Returns:
        The last line: name=value pairs.
    """
    from benchmarks.timing import Harness
    from inversefacenet.editing import PhotoEditor
    from inversefacenet.image import load_photo
    from inversefacenet.reconstruction import Reconstructor
    from inversefacenet.rendering import render

    image = load_photo(photo)
    (reconstruction,) = Reconstructor().reconstruct(image)
    editor = PhotoEditor(image, reconstruction)
    harness = Harness(rounds=rounds, clock=clock)
    figures = []
    for size in SIZES:
        calls: dict[str, Callable[[], object]]
        calls = {name: slider(editor, spec, size) for name, spec in _KINDS.items()}
        calls["render"] = partial(render, reconstruction.model, reconstruction.parameters, size)
        times = harness.alternate(calls)
        alone = times.pop("render")
        for name, timing in times.items():
            ratio = timing.median / alone.median
            row = f"{name:12s} {size:5d} px {timing.milliseconds:8.2f} ms  {ratio:5.2f} x rendering"
            print(f"{row}  spread {timing.spread:.2f}", flush=True)
        slowest = max(times.values(), key=lambda timing: timing.median)
        figures.append(f"edit_{size}_ms={slowest.milliseconds:.2f}")
        figures.append(f"edit_{size}_ratio={slowest.median / alone.median:.2f}")
        figures.append(f"render_{size}_ms={alone.milliseconds:.2f}")
        figures.append(f"edit_{size}_limit_ms={LIMITS_MS[size]:g}")
    return " ".join(figures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.editing", description="Time edits of a photo."
    )
    parser.add_argument("--photo", type=Path, default=Path("examples", "astronaut.png"))
    parser.add_argument("--threads", type=int, default=1, help="by default one core")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each edit (at least 15 to report)")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count the process's own time, on a machine that is busy"
    )
    values = parser.parse_args(arguments)
    if values.rounds < 2 or values.threads < 1:
        parser.error("--rounds must be 2 or more, --threads 1 or more.")

    from benchmarks.machine import set_threads

    set_threads(values.threads)
    # Only now: numerical libraries read the number of their threads when they are imported.
    from inversefacenet.errors import InverseFaceNetError

    try:
        print(run(values.photo, values.rounds, time.process_time if values.cpu_time else time.perf_counter))
    except InverseFaceNetError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

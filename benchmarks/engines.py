"""Networks by every engine that is installed, in turn: ``python -m benchmarks.engines``.

Each network is loaded by each engine. Times are medians of rounds in which all candidates take turns, of one
crop and of eight; "cold" is one crop after other memory was read, so that no weight is in the processor's
caches. The differences are the parameters' from the first row's, on rendered faces.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8

from benchmarks.convolutions import OpenVinoNetwork, convolution_graph, load_engines
from benchmarks.report import text_row
from benchmarks.timing import Harness
from inversefacenet.errors import InputError, InverseFaceNetError, MissingDependencyError
from inversefacenet.onnx_session import OnnxSession

Run = Callable[[np.ndarray], np.ndarray]

COLUMNS: Final = (
    "network",
    "engine",
    "MB",
    "load ms",
    "peak MB +",
    "1 ms",
    "1 cold",
    "8 ms",
    "mean diff",
    "max diff",
)
WIDTHS: Final = (12, 24, 6, 8, 10, 8, 8, 8, 10, 9)
FACES: Final = 16
_FLUSHED_BYTES: Final = 96 << 20
_SEED: Final = 23


def _onnxruntime(content: bytes, threads: int, spinning: bool = True) -> Run:
    session = OnnxSession(content, threads, name="network", spinning=spinning)
    return lambda crops: session.run(crops)[0]


ENGINES: Final[Mapping[str, Callable[[bytes, int], Run]]] = {
    "onnxruntime": _onnxruntime,
    "onnxruntime, no spinning": lambda content, threads: _onnxruntime(content, threads, False),
    "openvino": lambda content, threads: OpenVinoNetwork(content, threads).run,
    "openvino, bfloat16": lambda content, threads: OpenVinoNetwork(content, threads, "bf16").run,
}


@dataclass
class Candidate:
    """A network in an engine, and what was measured of it.

    Attributes:
        network: The network's name.
        engine: The engine's.
        run: Answers crops.
        size: Bytes of the file.
        load: Seconds to load it.
        memory: Bytes by which loading it raised the process's highest memory.
        milliseconds: Times by name.
        answers: Parameters of the rendered faces.
    """

    network: str
    engine: str
    run: Run
    size: int
    load: float
    memory: int
    milliseconds: dict[str, float] = field(default_factory=dict)
    answers: Float32[np.ndarray, "faces 350"] = field(default_factory=lambda: np.zeros((0, 350), np.float32))

    def row(self, first: Candidate) -> list[str]:
        """Return the table's row; differences are from the first candidate's answers."""
        difference = np.abs(self.answers - first.answers)
        return [
            self.network,
            self.engine,
            f"{self.size / 1e6:.1f}",
            f"{self.load * 1e3:.0f}",
            f"{self.memory / 1e6:.0f}",
            *(f"{self.milliseconds[name]:.3f}" for name in ("hot", "cold", "eight")),
            f"{difference.mean():.5f}",
            f"{difference.max():.4f}",
        ]


def load_candidates(networks: Mapping[str, bytes], threads: int) -> list[Candidate]:
    """Load every network into every engine that is installed."""
    loaded = []
    for network, content in networks.items():
        for engine, load in ENGINES.items():
            before, start = _peak_bytes(), time.perf_counter()
            try:
                run = load(content, threads)
            except (ImportError, MissingDependencyError):
                continue
            elapsed = time.perf_counter() - start
            loaded.append(Candidate(network, engine, run, len(content), elapsed, _peak_bytes() - before))
    return loaded


def measure(
    candidates: list[Candidate], faces: UInt8[np.ndarray, "faces 240 240 3"], harness: Harness
) -> None:
    """Time all candidates in turn, and keep their answers.

    Args:
        candidates: What to measure; their figures are filled in.
        faces: Crops, at least eight.
        harness: How they are timed.
    """
    other = np.zeros(_FLUSHED_BYTES, np.uint8)

    def flush(_seconds: float) -> None:
        np.add(other, 1, out=other)

    cold = Harness(harness.rounds, harness.warm_up, 0.0, clock=harness.clock, sleep=flush)
    for name, count, timer in (("hot", 1, harness), ("cold", 1, cold), ("eight", 8, harness)):
        part = np.ascontiguousarray(faces[:count])
        calls = {str(place): _call(candidate.run, part) for place, candidate in enumerate(candidates)}
        for place, timing in timer.alternate(calls).items():
            candidates[int(place)].milliseconds[name] = timing.milliseconds
    for candidate in candidates:
        candidate.answers = np.concatenate([candidate.run(face[None]) for face in faces])


def floors(
    network: bytes, faces: UInt8[np.ndarray, "faces 240 240 3"], threads: int, harness: Harness
) -> str:
    """Return a line with the times of a network's convolutions alone, by every engine, of one and eight."""
    parts = []
    engines = load_engines(convolution_graph(network), threads)
    for count in (1, 8):
        calls = {
            name: _call(engine.run, engine.prepare(np.ascontiguousarray(faces[:count])))
            for name, engine in engines.items()
        }
        for name, timing in harness.alternate(calls).items():
            parts.append(f"{name} batch {count}: {timing.milliseconds:.3f} ms")
    return "convolutions alone: " + ", ".join(parts)


def _call(run: Run, values: np.ndarray) -> Callable[[], object]:
    return lambda: run(values)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _named(text: str) -> tuple[str, Path]:
    name, _, path = text.rpartition("=")
    return name or Path(path).stem, Path(path)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description="Compare engines.")
    parser.add_argument(
        "--network",
        action="append",
        type=_named,
        metavar="[NAME=]FILE",
        help="ONNX file, as often as there are networks to compare; by default the reference",
    )
    parser.add_argument("--threads", type=int, default=0, help="of one run; 0: each engine's choice")
    parser.add_argument("--rounds", type=int, default=15)
    values = parser.parse_args(arguments)
    try:
        print(_table(values.network, values.threads, Harness(rounds=values.rounds)))
    except InverseFaceNetError as error:
        print(f"engines: {error}", file=sys.stderr)
        return 1
    return 0


def _table(named: list[tuple[str, Path]] | None, threads: int, harness: Harness) -> str:
    from inversefacenet.morphable_model import MorphableModel
    from inversefacenet.networks import reference_path
    from inversefacenet.sampling import DISTRIBUTIONS
    from training.rendered import rendered_images

    try:
        networks = {n: path.read_bytes() for n, path in named or [("reference", reference_path())]}
    except OSError as error:
        raise InputError(f"A network can't be read: {error}") from error
    model = MorphableModel.load_default()
    theta = DISTRIBUTIONS["natural"].sample(np.random.default_rng(_SEED), FACES, model)
    faces = rendered_images(model, theta)
    candidates = load_candidates(networks, threads)
    measure(candidates, faces, harness)
    rows = [text_row(COLUMNS, WIDTHS), *(text_row(c.row(candidates[0]), WIDTHS) for c in candidates)]
    rows += [f"{name}: {floors(content, faces, threads, harness)}" for name, content in networks.items()]
    return "\n".join(rows)


if __name__ == "__main__":
    raise SystemExit(main())

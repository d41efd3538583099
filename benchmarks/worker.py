"""Start-up and memory of a process of its own: ``python -m benchmarks.worker PHOTO``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from inversefacenet.errors import InputError

PHOTOS = 20


def measure_worker(photo: Path, network: Path, face_model: Path | None, threads: int) -> dict[str, float]:
    """Start a process that reconstructs a photo, and return what it says of itself.

    Returns:
        Seconds to import, to load and for the first photo, and the peak memory after one and after many.
    """
    command = [sys.executable, "-m", "benchmarks.worker", str(photo), "--network", str(network)]
    command += ["--threads", str(threads)]
    if face_model:
        command += ["--face-model", str(face_model)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(answer.stdout)
    return figures


def measure_corpus(rounds: int) -> float:
    """Return the faces a second that one core makes for training, in a process of its own.

    Args:
        rounds: Batches.

    Raises:
        InputError: If the corpus fails.
    """
    command = [sys.executable, "-m", "benchmarks.corpus", "--rounds", str(rounds)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"The corpus can't be timed: {done.stderr.strip()[-500:]}")
    last = done.stdout.splitlines()[-1]
    pairs = dict(pair.split("=") for pair in last.split())
    return float(pairs["corpus_per_core"])


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--network", type=Path)
    parser.add_argument("--face-model", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    values = parser.parse_args(arguments)

    start = time.perf_counter()
    from benchmarks.machine import peak_memory_mb
    from inversefacenet.backends.onnx import OnnxBackend
    from inversefacenet.image import decode_photo
    from inversefacenet.landmarks import FaceDetector
    from inversefacenet.morphable_model import MorphableModel
    from inversefacenet.reconstruction import Reconstructor

    imported = time.perf_counter()
    model = MorphableModel.load(values.face_model) if values.face_model else None
    reconstructor = Reconstructor(FaceDetector(), OnnxBackend(values.network, values.threads), model)
    loaded = time.perf_counter()
    content = values.photo.read_bytes()
    reconstructor.reconstruct(decode_photo(content))
    first = time.perf_counter()
    memory = peak_memory_mb()
    for _ in range(PHOTOS - 1):
        reconstructor.reconstruct(decode_photo(content))
    figures = {
        "import_seconds": imported - start,
        "load_seconds": loaded - imported,
        "first_photo_seconds": first - loaded,
        "peak_memory_mb": memory,
        f"peak_memory_mb_after_{PHOTOS}": peak_memory_mb(),
    }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

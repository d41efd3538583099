"""The network's forward pass beside its convolutions alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from benchmarks.convolutions import ConvolutionEngine
from benchmarks.timing import Call, Stage
from inversefacenet.backends import InferenceBackend

BATCHES = (1, 8)


def forward_stages(
    backend: InferenceBackend,
    engines: Mapping[str, ConvolutionEngine],
    crop: UInt8[np.ndarray, "240 240 3"],
) -> list[Stage]:
    """Return the forward pass at each batch size; the floor is the fastest engine's convolutions."""
    stages = []
    for count in BATCHES:
        crops = np.repeat(crop[None], count, axis=0)
        name = "forward" if count == 1 else f"forward, batch {count}"
        floors = {f"convolutions by {engine}": _convolve(runner, crops) for engine, runner in engines.items()}
        stages.append(Stage(name, _infer(backend, crops), floors, f"{backend.name}, {count} in a batch"))
    return stages


def _infer(backend: InferenceBackend, crops: UInt8[np.ndarray, "faces 240 240 3"]) -> Call:
    return lambda: backend.infer(crops)


def _convolve(engine: ConvolutionEngine, crops: UInt8[np.ndarray, "faces 240 240 3"]) -> Call:
    images = engine.prepare(crops)
    return lambda: engine.run(images)

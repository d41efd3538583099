"""Crops that say which numbers a network meets: photographs, rendered faces, and both spoiled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8

from inversefacenet.morphable_model import MorphableModel
from inversefacenet.sampling import DISTRIBUTIONS
from training.photo_store import PhotoStore
from training.rendered import rendered_images

FACES: Final = 2048
TYPICAL: Final = 256
_SEED: Final = 9
_RENDERED: Final = ("natural", "higher-variation")
_SIDE: Final = 100


@dataclass(frozen=True)
class CalibrationCrops:
    """Crops for `training.pruning` and `training.quantisation`.

    Attributes:
        typical: As the network meets them day by day: photographs, and a quarter as many rendered faces.
        all: These and more, and spoiled ones: nothing may be taken out that any of them needs.
        source: Digest of the store of photographs.
    """

    typical: UInt8[np.ndarray, "typical 240 240 3"]
    all: UInt8[np.ndarray, "faces 240 240 3"]
    source: str

    @classmethod
    def gather(cls, store: Path, model: MorphableModel, faces: int = FACES) -> CalibrationCrops:
        """Draw the same crops each time.

        Args:
            store: What `training.prepare` wrote.
            model: The face model that rendered faces are of.
            faces: Photographs; there will be twice as many crops.

        Raises:
            InputError: If the store can't be used.
        """
        photos = PhotoStore.open(store)
        rng = np.random.default_rng(_SEED)
        order = rng.permutation(len(photos))[:faces]
        crops = photos.crops(order)
        spoiled = _spoiled(crops[: max(1, faces // 8)], rng)
        drawn = max(1, faces // 4)
        rendered = [
            rendered_images(model, DISTRIBUTIONS[name].sample(rng, drawn, model)) for name in _RENDERED
        ]
        typical = np.concatenate([crops[:TYPICAL], rendered[0][: TYPICAL // 4]])
        return cls(typical, np.concatenate([crops, spoiled, *rendered]), photos.digest)


def _spoiled(
    crops: UInt8[np.ndarray, "faces 240 240 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "spoiled 240 240 3"]:
    """Return the crops darkened, brightened, without colour, and half hidden."""
    covered = crops.copy()
    for crop in covered:
        top, left = rng.integers(0, crop.shape[0] - _SIDE, 2)
        crop[top : top + _SIDE, left : left + _SIDE] = rng.integers(0, 256, 3)
    dark = (crops * np.float32(0.25)).astype(np.uint8)
    bright = np.minimum(crops * np.float32(2.2), 255).astype(np.uint8)
    grey = np.repeat(crops.mean(axis=3, keepdims=True).astype(np.uint8), 3, axis=3)
    return np.concatenate([covered, dark, bright, grey])

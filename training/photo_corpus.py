"""Batches of photographs: masked crops with detected landmarks and nothing else known.

Batch i of a seed is always the same, as in `training.corpus`. Crops are mirrored at random and their
linear channels multiplied by gains: both give photographs that could have been taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Integer, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from inversefacenet.camera import CROP_SIZE
from inversefacenet.colour import to_linear, to_uint8
from inversefacenet.errors import InputError
from training.photo_store import PhotoStore

EXPOSURE: Final = 0.15
WHITE_BALANCE: Final = 0.05
"""Standard deviations of the logarithms of gains: common to all channels, and each channel's own."""

# Partner of each iBUG landmark when a face is mirrored.
MIRRORED_LANDMARKS: Final = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), *range(45, 41, -1), 47, 46,
     *range(39, 35, -1), 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
)  # fmt: skip


@runtime_checkable
class PhotoSource(Protocol):
    """Photographs' crops in order, as `training.photo_store.PhotoStore` gives them."""

    @property
    def landmarks(self) -> Float32[np.ndarray, "photos 68 2"]:
        """The detected points in crop pixels."""
        ...

    def __len__(self) -> int: ...

    def crops(self, index: Integer[np.ndarray, "n"]) -> UInt8[np.ndarray, "n 240 240 3"]:
        """Return masked crops."""
        ...

    def masks(self, index: Integer[np.ndarray, "n"]) -> Bool[np.ndarray, "n 240 240"]:
        """Return face regions."""
        ...


class PhotoBatch(NamedTuple):
    """Photographs as a differentiable renderer is compared with them.

    Attributes:
        crops: Masked sRGB crops.
        masks: The face regions.
        landmarks: The 68 detected points in crop pixels.
    """

    crops: UInt8[Tensor, "photos 240 240 3"]
    masks: Bool[Tensor, "photos 240 240"]
    landmarks: Float[Tensor, "photos 68 2"]


@dataclass(frozen=True)
class PhotoCorpus(Dataset[PhotoBatch]):
    """Batches drawn from a photo store.

    Attributes:
        folder: The store (`python -m training.prepare`).
        batch_size: Photos in a batch.
        batches: Number of batches.
        seed: The same seed and index give the same batch.
        varied: Mirror the crops and vary their exposure and colour at random.
        chosen: Which photos of the store to use; all by default.
    """

    folder: Path
    batch_size: int
    batches: int
    seed: int
    varied: bool = True
    chosen: Int[np.ndarray, "chosen"] | None = field(default=None, compare=False)

    @cached_property
    def store(self) -> PhotoSource:
        """The opened store; opened where it is used, so that worker processes open their own."""
        return PhotoStore.open(self.folder)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> PhotoBatch:
        if not 0 <= index < self.batches:
            raise IndexError(index)
        pool = np.arange(len(self.store)) if self.chosen is None else self.chosen
        if not len(pool):
            raise InputError(f"The photo store {self.folder} is empty: prepare one with faces in it.")
        picked = pool[self._picked(index, len(pool))]
        crops, masks = self.store.crops(picked), self.store.masks(picked)
        landmarks = self.store.landmarks[picked]
        if self.varied:
            rng = np.random.default_rng([self.seed, 1, index])
            crops, masks, landmarks = mirror_some(crops, masks, landmarks, rng.random(len(picked)) < 0.5)
            gains = np.exp(
                rng.normal(0, EXPOSURE, (len(picked), 1)) + rng.normal(0, WHITE_BALANCE, (len(picked), 3))
            )
            crops = apply_gains(crops, gains)
        return PhotoBatch(torch.from_numpy(crops), torch.from_numpy(masks), torch.from_numpy(landmarks))

    def _picked(self, index: int, count: int) -> Int[np.ndarray, "batch"]:
        """Walk through the photos in an order that is drawn anew for each pass, none left out."""
        places = index * self.batch_size + np.arange(self.batch_size)
        rounds, within = places // count, places % count
        orders = {
            one: np.random.default_rng([self.seed, 0, one]).permutation(count) for one in set(rounds.tolist())
        }
        return np.array([orders[one][place] for one, place in zip(rounds.tolist(), within, strict=True)])


def mirror_some(
    crops: UInt8[np.ndarray, "photos 240 240 3"],
    masks: Bool[np.ndarray, "photos 240 240"],
    landmarks: Float32[np.ndarray, "photos 68 2"],
    chosen: Bool[np.ndarray, "photos"],
) -> tuple[
    UInt8[np.ndarray, "photos 240 240 3"],
    Bool[np.ndarray, "photos 240 240"],
    Float32[np.ndarray, "photos 68 2"],
]:
    """Mirror the chosen crops with their masks and landmarks."""
    crops, masks, landmarks = crops.copy(), masks.copy(), landmarks.copy()
    crops[chosen] = crops[chosen][:, :, ::-1]
    masks[chosen] = masks[chosen][:, :, ::-1]
    points = landmarks[chosen][:, MIRRORED_LANDMARKS]
    points[..., 0] = CROP_SIZE - points[..., 0]
    landmarks[chosen] = points
    return crops, masks, landmarks


def apply_gains(
    crops: UInt8[np.ndarray, "photos 240 240 3"], gains: Float[np.ndarray, "photos 3"]
) -> UInt8[np.ndarray, "photos 240 240 3"]:
    """Multiply linear channels by gains, by a table of the 256 levels for each photo and channel."""
    levels = to_linear(np.arange(256, dtype=np.uint8))
    tables = to_uint8(gains[:, :, None] * levels)
    result = np.empty_like(crops)
    for photo, (crop, table) in enumerate(zip(crops, tables, strict=True)):
        for channel in range(3):
            result[photo, ..., channel] = table[channel][crop[..., channel]]
    return result

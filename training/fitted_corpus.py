"""Photographs with parameters that an optimiser fitted to them: what MonoFit learns (Section 8.1).

Kim et al. 2018 train MonoFit on the fits of Garrido et al. 2016 to ask whether learning the optimiser's
answers is as good as learning rendered faces; ours learns those of `inversefacenet.fitting`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch.utils.data import Dataset

from inversefacenet.errors import InputError
from training.corpus import Batch
from training.photo_corpus import PhotoSource
from training.photo_store import PhotoStore


@dataclass(frozen=True)
class FittedCorpus(Dataset[Batch]):
    """Batches of photographs' crops with fitted parameters.

    Attributes:
        folder: The photo store.
        fits: What `training.fit_photos` wrote for it.
        batch_size: Photos in a batch.
        batches: Number of batches.
        seed: The same seed and index give the same batch.
    """

    folder: Path
    fits: Path
    batch_size: int
    batches: int
    seed: int

    @cached_property
    def store(self) -> PhotoSource:
        """The opened store; opened where it is used, so that worker processes open their own."""
        return PhotoStore.open(self.folder)

    @cached_property
    def pairs(self) -> tuple[Int[np.ndarray, "fits"], Float32[np.ndarray, "fits 350"]]:
        """Places in the store, and the parameters fitted there."""
        try:
            with np.load(self.fits) as file:
                index, theta = file["index"], file["theta"]
        except (OSError, KeyError, ValueError, BadZipFile) as error:
            raise InputError(
                f"{self.fits} holds no fits that `training.fit_photos` wrote: {error}."
            ) from error
        if not len(index) or index.max() >= len(self.store):
            raise InputError(f"{self.fits} is empty, or of another photo store than {self.folder}.")
        return index, theta.astype(np.float32)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < self.batches:
            raise IndexError(index)
        places, theta = self.pairs
        picked = np.random.default_rng([self.seed, 2, index]).integers(len(places), size=self.batch_size)
        return torch.from_numpy(self.store.crops(places[picked])), torch.from_numpy(theta[picked])

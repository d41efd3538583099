"""Batches of a teacher's answers to photographs (`training.teacher_answers`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch.utils.data import Dataset

from training.corpus import Batch
from training.teacher_answers import passes


@dataclass(frozen=True)
class TaughtCorpus(Dataset[Batch]):
    """Halved crops with the teacher's answers, drawn at random from all passes.

    Attributes:
        folder: What `training.teacher_answers` wrote.
        batch_size: Crops in a batch.
        batches: Number of batches.
        seed: The same seed and index give the same batch.
    """

    folder: Path
    batch_size: int
    batches: int
    seed: int

    @cached_property
    def passes(self) -> list[tuple[UInt8[np.ndarray, "n 120 120 3"], Float32[np.ndarray, "n 350"]]]:
        """The finished passes; opened where they are used, so that worker processes open their own."""
        return passes(self.folder)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < self.batches:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, 3, index])
        picked = [self.passes[i] for i in rng.integers(len(self.passes), size=self.batch_size)]
        rows = [int(rng.integers(len(theta))) for _, theta in picked]
        crops = np.stack([crops[row] for (crops, _), row in zip(picked, rows, strict=True)])
        theta = np.stack([theta[row] for (_, theta), row in zip(picked, rows, strict=True)])
        return torch.from_numpy(crops), torch.from_numpy(theta)

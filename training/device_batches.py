"""Many batches rendered at once on a GPU, where starting a kernel costs more than its work on one batch.

Convention:
    Consecutive batches are rendered together, always the same ones whoever asks, so that a run that resumes
    sees what it would have seen; parts of a batch (`training.distributed`) are rendered with the same part of
    the other batches. Parameters are those of `RenderedCorpus`; what happens to the pictures is drawn for all
    of them at once. Parameters are drawn by other processes meanwhile, and nothing comes back from the GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.corpus import Batch, RenderedCorpus

FACES_AT_ONCE: Final = 512
"""Faces rendered together: they fill a GPU and take some 4 GB of it."""

Drawn = tuple[Tensor, int]
"""Parameters [batches, faces, 350] of one part of some batches, and the seed of their pictures."""


@dataclass(frozen=True)
class Draws(Dataset[list[Drawn]]):
    """Parameters of chunks of consecutive batches.

    Attributes:
        corpus: Parts of batches: part p of batch i has the index i * parts + p.
        parts: Parts of a batch.
        own: Those that are drawn here.
    """

    corpus: RenderedCorpus
    parts: int
    own: range

    @property
    def size(self) -> int:
        """Batches in a chunk; it doesn't depend on who shares them."""
        return max(1, FACES_AT_ONCE // self.corpus.batch_size)

    @property
    def batches(self) -> int:
        """Number of whole batches."""
        return len(self.corpus) // self.parts

    def __len__(self) -> int:
        return -(-self.batches // self.size)

    def __getitem__(self, chunk: int) -> list[Drawn]:
        first = chunk * self.size
        last = min(first + self.size, self.batches)
        units = []
        for part in self.own:
            draws = [self.corpus.draw(index * self.parts + part) for index in range(first, last)]
            units.append((torch.from_numpy(np.stack([theta for theta, _ in draws])), draws[0][1]))
        return units


def device_batches(
    corpus: RenderedCorpus, parts: int, own: range, start: int, workers: int
) -> Iterator[Batch]:
    """Yield this process's share of the batches from `start` on, rendered on the corpus's device.

    Args:
        corpus: Parts of batches.
        parts: Parts of a batch.
        own: Those that this process trains on.
        start: The first batch.
        workers: Processes that draw parameters.
    """
    draws = Draws(corpus, parts, own)
    chunks = range(start // draws.size, len(draws))
    loader = DataLoader(
        draws,
        batch_size=None,
        sampler=chunks,
        num_workers=workers,
        # Parameters in pinned memory are copied while the GPU works on.
        pin_memory=corpus.device.type == "cuda",
    )
    skipped = start % draws.size
    for units in loader:
        rendered = [_render(corpus, theta, seed) for theta, seed in units]
        for batch in list(zip(*rendered, strict=True))[skipped:]:
            crops, theta = (torch.cat(tensors) for tensors in zip(*batch, strict=True))
            yield crops, theta
        skipped = 0


def _render(corpus: RenderedCorpus, theta: Tensor, seed: int) -> list[Batch]:
    crops, changed = corpus.render(theta.flatten(0, 1), seed)
    faces = theta.shape[1]
    return list(zip(torch.split(crops, faces), torch.split(changed, faces), strict=True))

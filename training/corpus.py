"""The synthetic corpus: random faces, rendered and cropped as photos are (Kim et al. 2018, Section 5).

A corpus is a sequence of batches; batch i of a seed is always the same, so that training can stop and
resume anywhere and nothing has to be stored. Batches are rendered on the device that is asked for: on a
GPU they never leave it, on a CPU compiled code renders them (`training.compiled_corpus`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from inversefacenet.morphable_model import MorphableModel
from inversefacenet.sampling import Distribution
from training.augmentation import augment_rendered, draw_landmark_noise
from training.augmentation_options import AUGMENTATIONS as AUGMENTATIONS
from training.augmentation_options import STEPS as STEPS
from training.augmentation_options import CorpusAugmentation as CorpusAugmentation
from training.augmentation_options import augmentation_named as augmentation_named
from training.compiled_corpus.renderer import CompiledRenderer
from training.torch_model import TorchFaceModel
from training.torch_renderer import render_crops

Batch = tuple[UInt8[Tensor, "faces side side 3"], Float[Tensor, "faces 350"]]


@dataclass(frozen=True)
class RenderedCorpus(Dataset[Batch]):
    """Batches of masked crops with their parameters, rendered when they are asked for.

    Attributes:
        model: The face model.
        distribution: Where parameters are drawn from.
        augmentation: What happens to the crops, if anything.
        batch_size: Faces in a batch.
        batches: Number of batches.
        seed: The same seed and index give the same batch.
        device: Where batches are rendered.
        drawn: Parameters to render instead of drawing them from the distribution: Algorithm 1's corpora.
        drawn_share: Share of each batch's faces that come from `drawn`.
        faces: Number of faces after which the corpus begins again, 0 for never: the paper's corpus has
            200,000.
        compiled: On a CPU, render by `training.compiled_corpus`, several times as fast as torch. The
            distribution of the faces is the same, a batch's faces are not: each way has random numbers of
            its own.
    """

    model: MorphableModel
    distribution: Distribution
    augmentation: CorpusAugmentation | None
    batch_size: int
    batches: int
    seed: int
    device: torch.device
    drawn: Float32[np.ndarray, "drawn 350"] | None = field(default=None, compare=False)
    drawn_share: float = 1.0
    faces: int = 0
    compiled: bool = True

    @cached_property
    def _renderer(self) -> CompiledRenderer:
        return CompiledRenderer(self.model)

    @cached_property
    def _torch_model(self) -> TorchFaceModel:
        return TorchFaceModel(self.model).to(self.device)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> Batch:
        theta, seed = self.draw(index)
        return self.render(torch.from_numpy(theta), seed)

    def draw(self, index: int) -> tuple[Float32[np.ndarray, "faces 350"], int]:
        """Draw a batch's parameters, and the seed of what happens to its pictures."""
        if not 0 <= index < self.batches:
            raise IndexError(index)
        if self.faces:
            index %= max(1, self.faces // self.batch_size)
        rng = np.random.default_rng([self.seed, index])
        return self._parameters(rng), int(rng.integers(2**62))

    @torch.no_grad()
    def render(self, theta: Float[Tensor, "faces 350"], seed: int) -> Batch:
        """Render faces on the corpus's device: one batch, or several at once."""
        if self.compiled and self.device.type == "cpu":
            crops, changed = self._renderer.render(theta.numpy(), self.augmentation, seed)
            return torch.from_numpy(crops), torch.from_numpy(changed)
        theta = theta.to(self.device, non_blocking=True)
        if self.augmentation is None:
            return render_crops(self._torch_model, theta).crops(), theta
        generator = torch.Generator(self.device).manual_seed(seed)
        noise = draw_landmark_noise(len(theta), self.augmentation.landmark_noise, generator)
        rendered = render_crops(self._torch_model, theta, landmark_noise=noise)
        return augment_rendered(rendered, theta, self.augmentation.pictures, generator)

    def _parameters(self, rng: np.random.Generator) -> Float32[np.ndarray, "faces 350"]:
        """Draw a batch's parameters."""
        theta = self.distribution.sample(rng, self.batch_size, self.model)
        if self.drawn is not None:
            count = round(self.drawn_share * self.batch_size)
            theta[:count] = self.drawn[rng.integers(len(self.drawn), size=count)]
        return theta

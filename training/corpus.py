"""The synthetic corpus: random faces, rendered and cropped as photos are (Kim et al. 2018, Section 5).

A corpus is a sequence of batches; batch i of a seed is always the same, so that training can stop and
resume anywhere and nothing has to be stored. Batches are rendered on the device that is asked for: on a
GPU they never leave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from inversefacenet.morphable_model import MorphableModel
from inversefacenet.sampling import Distribution
from training.augmentation import AugmentationOptions, augment_rendered, draw_landmark_noise
from training.occluders import OccluderOptions
from training.torch_model import TorchFaceModel
from training.torch_renderer import render_crops

Batch = tuple[UInt8[Tensor, "faces 240 240 3"], Float[Tensor, "faces 350"]]


@dataclass(frozen=True)
class CorpusAugmentation:
    """How rendered crops are made to look like a detector's crops of photos.

    Attributes:
        pictures: What happens to the pictures.
        landmark_noise: Standard deviation in crop pixels of the errors of a landmark detector, which
            place and mask the crop; the jaw's are larger.
    """

    pictures: AugmentationOptions = field(default_factory=AugmentationOptions)
    landmark_noise: float = 2.5


# Shadows and things in front of the face teach a network to see through dark regions, and so to make faces
# brighter than they look: "photographic" is robust, "camera" is nearer to the picture's own brightness.
_FEW_OCCLUDERS: Final = OccluderOptions(
    objects=0.02, spectacles=0.04, strands=0.03, fringes=0.03, hands=0.02, shadows=0.0, highlights=0.02
)

AUGMENTATIONS: Final[Mapping[str, CorpusAugmentation | None]] = {
    "photographic": CorpusAugmentation(),
    "camera": CorpusAugmentation(AugmentationOptions(occluders=_FEW_OCCLUDERS)),
    "none": None,
}


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
    """

    model: MorphableModel
    distribution: Distribution
    augmentation: CorpusAugmentation | None
    batch_size: int
    batches: int
    seed: int
    device: torch.device

    @cached_property
    def _torch_model(self) -> TorchFaceModel:
        return TorchFaceModel(self.model).to(self.device)

    def __len__(self) -> int:
        return self.batches

    @torch.no_grad()
    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < self.batches:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, index])
        drawn = self.distribution.sample(rng, self.batch_size, self.model)
        theta = torch.from_numpy(drawn).to(self.device)
        if self.augmentation is None:
            return render_crops(self._torch_model, theta).crops(), theta
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        noise = draw_landmark_noise(self.batch_size, self.augmentation.landmark_noise, generator)
        rendered = render_crops(self._torch_model, theta, landmark_noise=noise)
        return augment_rendered(rendered, theta, self.augmentation.pictures, generator)

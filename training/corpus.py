"""The synthetic corpus: random faces, rendered and cropped as photos are (Kim et al. 2018, Section 5).

A corpus is a sequence of batches; batch i of a seed is always the same, so that training can stop and
resume anywhere and nothing has to be stored. Batches are rendered on the device that is asked for: on a
GPU they never leave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from inversefacenet.errors import InputError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.sampling import Distribution
from training.augmentation import AugmentationOptions, augment_rendered, draw_landmark_noise
from training.degradations import DegradationOptions
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
_NO_OCCLUDERS: Final = OccluderOptions(**dict.fromkeys((one.name for one in fields(OccluderOptions)), 0.0))

AUGMENTATIONS: Final[Mapping[str, CorpusAugmentation | None]] = {
    "photographic": CorpusAugmentation(),
    "camera": CorpusAugmentation(AugmentationOptions(occluders=_FEW_OCCLUDERS)),
    "none": None,
}
"""Named mixtures; `augmentation_named` also takes a list of single steps."""

_NO_DEGRADATION: Final = DegradationOptions(
    resolution_probability=0.0,
    blur_probability=0.0,
    motion_probability=0.0,
    noise_probability=0.0,
    jpeg_probability=0.0,
)
_USUAL: Final = DegradationOptions()
_DEGRADATIONS: Final[Mapping[str, Mapping[str, float]]] = {
    "resolution": {"resolution_probability": _USUAL.resolution_probability},
    "blur": {
        "blur_probability": _USUAL.blur_probability,
        "motion_probability": _USUAL.motion_probability,
    },
    "noise": {"noise_probability": _USUAL.noise_probability},
    "jpeg": {"jpeg_probability": _USUAL.jpeg_probability},
}
STEPS: Final = ("colour", "occluders", "landmarks", *_DEGRADATIONS)


def augmentation_named(name: str) -> CorpusAugmentation | None:
    """Return an augmentation by name: one of `AUGMENTATIONS`, or steps of `STEPS` such as "blur,jpeg".

    Raises:
        InputError: If a name is unknown.
    """
    if name in AUGMENTATIONS:
        return AUGMENTATIONS[name]
    steps = name.split(",")
    unknown = sorted(set(steps) - set(STEPS))
    if unknown:
        raise InputError(
            f"Unknown augmentation {', '.join(unknown)}: the mixtures are {', '.join(AUGMENTATIONS)}, the "
            f"single steps {', '.join(STEPS)}."
        )
    usual = AugmentationOptions()
    degradations: dict[str, Any] = {
        key: value for step in steps for key, value in _DEGRADATIONS.get(step, {}).items()
    }
    coloured, hidden = "colour" in steps, "occluders" in steps
    return CorpusAugmentation(
        AugmentationOptions(
            exposure=usual.exposure if coloured else 0.0,
            white_balance=usual.white_balance if coloured else 0.0,
            tone=usual.tone if coloured else 0.0,
            occluders=usual.occluders if hidden else _NO_OCCLUDERS,
            degradations=replace(_NO_DEGRADATION, **degradations),
        ),
        landmark_noise=CorpusAugmentation.landmark_noise if "landmarks" in steps else 0.0,
    )


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

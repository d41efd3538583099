"""What is done to rendered crops, how strongly and how often; the named mixtures of `training.corpus`.

Both ways of making the corpus, `training.augmentation` in torch and `training.compiled_corpus` without it,
take these options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from inversefacenet.errors import InputError


@dataclass(frozen=True)
class OccluderOptions:
    """The share of pictures that receive each occluder.

    Attributes:
        objects: Coloured, textured ellipses and polygons.
        spectacles: Clear, tinted or dark lenses with a bridge, over the eyes.
        strands: Single hairs and locks, anywhere from above.
        fringes: Hair that covers the brow from above, or a cheek from its side.
        hands: Skin-coloured fingers that reach in from a border.
        shadows: Soft-edged darkening, which the smooth light model can't produce.
        highlights: Gloss, which a diffuse surface doesn't have.
    """

    objects: float = 0.08
    spectacles: float = 0.10
    strands: float = 0.08
    fringes: float = 0.08
    hands: float = 0.05
    shadows: float = 0.10
    highlights: float = 0.10


@dataclass(frozen=True)
class DegradationOptions:
    """How strongly and how often pictures are degraded. Lengths are in pixels of the full-size crop.

    Attributes:
        resolution_probability: Share of pictures that lose resolution.
        resolution: Smallest and largest size that the crop had before it was enlarged, at 240 pixels.
        blur_probability: Share of pictures that are out of focus.
        blur_sigma: Range of the Gaussian's standard deviation.
        motion_probability: Share of pictures with motion blur.
        motion_length: Range of the motion's length.
        noise_probability: Share of noisy pictures.
        read_noise: Greatest standard deviation of the noise that doesn't depend on brightness.
        shot_noise: Greatest standard deviation, at white, of the noise that grows with brightness.
        jpeg_probability: Share of pictures that went through JPEG.
        jpeg_quality: Range of the quality.
    """

    resolution_probability: float = 0.8
    resolution: tuple[float, float] = (80.0, 200.0)
    blur_probability: float = 0.3
    blur_sigma: tuple[float, float] = (0.6, 2.0)
    motion_probability: float = 0.15
    motion_length: tuple[float, float] = (3.0, 9.0)
    noise_probability: float = 0.5
    read_noise: float = 0.02
    shot_noise: float = 0.03
    jpeg_probability: float = 0.8
    jpeg_quality: tuple[float, float] = (40.0, 95.0)


@dataclass(frozen=True)
class AugmentationOptions:
    """What is done to rendered crops, and how strongly. 0 leaves a step out.

    Attributes:
        exposure: Standard deviation of the logarithm of a gain common to all channels.
        white_balance: Standard deviation of the logarithm of each channel's own gain.
        tone: Standard deviation of the logarithm of the tone curve's exponent.
        background: Whether to fill what the mesh leaves uncovered.
        occluders: How often something hides a part of the face.
        degradations: Blur, resolution, noise, JPEG.
    """

    exposure: float = 0.2
    white_balance: float = 0.08
    tone: float = 0.08
    background: bool = True
    occluders: OccluderOptions = field(default_factory=OccluderOptions)
    degradations: DegradationOptions = field(default_factory=DegradationOptions)


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
NO_OCCLUDERS: Final = OccluderOptions(**dict.fromkeys((one.name for one in fields(OccluderOptions)), 0.0))
"""Nothing hides a part of the face."""

AUGMENTATIONS: Final[Mapping[str, CorpusAugmentation | None]] = {
    "photographic": CorpusAugmentation(),
    "camera": CorpusAugmentation(AugmentationOptions(occluders=_FEW_OCCLUDERS)),
    "none": None,
}
"""Named mixtures; `augmentation_named` also takes a list of single steps."""

NO_DEGRADATIONS: Final = DegradationOptions(
    resolution_probability=0.0,
    blur_probability=0.0,
    motion_probability=0.0,
    noise_probability=0.0,
    jpeg_probability=0.0,
)
"""A perfect camera, and no file."""

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
"""Single steps that `augmentation_named` knows."""


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
            occluders=usual.occluders if hidden else NO_OCCLUDERS,
            degradations=replace(NO_DEGRADATIONS, **degradations),
        ),
        landmark_noise=CorpusAugmentation.landmark_noise if "landmarks" in steps else 0.0,
    )

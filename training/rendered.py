"""Rendered faces as crops: cut out and masked by their own landmarks, as a photo's faces are."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.camera import Placement
from inversefacenet.crop import FaceCrop, face_mask
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render


def rendered_crop(model: MorphableModel, parameters: Parameters) -> FaceCrop:
    """Render a face and mask it by its own landmarks."""
    rendering = render(model, parameters)
    mask = face_mask(rendering.landmarks)
    return FaceCrop(
        image=rendering.image * mask[..., None],
        unmasked=rendering.image,
        mask=mask,
        placement=Placement(1.0, (0.0, 0.0)),
        landmarks=rendering.landmarks,
    )


def rendered_images(
    model: MorphableModel, theta: Float32[np.ndarray, "faces 350"]
) -> UInt8[np.ndarray, "faces 240 240 3"]:
    """Render faces as the network sees them, without augmentation."""
    return np.stack([rendered_crop(model, Parameters.from_vector(vector)).image for vector in theta])

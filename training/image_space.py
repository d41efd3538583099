"""Image-space terms of the loss: where landmarks land in the crop, and what colours vertices take.

An option beside the model-space loss (`--image-space`). Both terms compare the prediction with the
rendered face's known truth, through the image formation of Section 4 at a sample of vertices, without
rasterizing. They weigh the 350 parameters by what they change in the picture: many combinations of light
and reflectance, or of pose and shape, look alike, and the parameter loss alone can't know which.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inversefacenet.camera import CAMERA_DISTANCE, CROP_MARGIN, CROP_SIZE
from inversefacenet.crop import KEPT_LANDMARKS
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import EXPRESSION, ILLUMINATION, REFLECTANCE, ROTATION, SHAPE
from inversefacenet.rasterizer import vertex_normals
from training.torch_model import rotation_matrix
from training.torch_shading import sh_irradiance

POSITION_WEIGHT: Final = 40.0
"""Per squared pixel: positions then start near the rotation term of Eq. 8."""

COLOUR_WEIGHT: Final = 20.0
"""Per squared 8-bit level: colours then start near the reflectance term of Eq. 8."""

_SAMPLE: Final = 400
_DARKEST: Final = 1e-3


class ImageSpaceTerms:
    """Computes both terms on a sample of the painted region's vertices and the landmarks."""

    def __init__(self, model: MorphableModel, device: torch.device, seed: int = 0) -> None:
        """Pick the vertices.

        Args:
            model: The face model.
            device: Where the terms are computed.
            seed: The same seed picks the same vertices.
        """
        rng = np.random.default_rng(seed)
        painted = model.painted_vertices
        sample = rng.choice(painted, min(_SAMPLE, len(painted)), replace=False)
        chosen = np.concatenate([model.landmarks[KEPT_LANDMARKS], sample]).astype(np.int64)
        coordinates = (3 * chosen[:, None] + np.arange(3)).ravel()

        def tensor(array: Float[np.ndarray, "..."]) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float32, device=device)

        self._landmark_count = len(KEPT_LANDMARKS)
        self._geometry_mean = tensor(model.mean_geometry.ravel()[coordinates])
        self._geometry = tensor(model.geometry_directions[:, coordinates])
        self._reflectance_mean = tensor(model.mean_reflectance.ravel()[coordinates])
        self._reflectance = tensor(model.reflectance_directions[:, coordinates])
        self._normals = tensor(vertex_normals(model.mean_geometry, model.triangles)[chosen])

    def __call__(
        self, predicted: Float[Tensor, "faces 350"], truth: Float[Tensor, "faces 350"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the mean squared distance in crop pixels, and the mean squared colour difference.

        The colour term counts vertices that face the camera in the truth, in 8-bit sRGB levels, and
        takes the truth's normals for both, so that it judges reflectance and light alone.
        """
        positions = (self.positions(predicted) - self.positions(truth)).square().sum(dim=-1).mean()
        normals = self._normals @ rotation_matrix(truth[:, ROTATION]).transpose(1, 2)
        seen = (normals[..., 2:] > 0.1).float()
        difference = self.colours(predicted, normals) - self.colours(truth, normals)
        colours = (difference.square() * seen).sum() / (3 * seen.sum()).clamp(min=1)
        return positions, colours

    def positions(self, theta: Float[Tensor, "faces 350"]) -> Float[Tensor, "faces sample 2"]:
        """Project the sample into the crop, placed by the 66 landmarks (fixed jaw vertices)."""
        coefficients = torch.cat([theta[:, SHAPE], theta[:, EXPRESSION]], dim=1)
        vertices = (self._geometry_mean + coefficients @ self._geometry).reshape(len(theta), -1, 3)
        rotated = vertices @ rotation_matrix(theta[:, ROTATION]).transpose(1, 2)
        plane = rotated[..., :2] / (CAMERA_DISTANCE - rotated[..., 2:])
        points = plane * plane.new_tensor([1.0, -1.0])
        landmarks = points[:, : self._landmark_count]
        low, high = landmarks.amin(dim=1, keepdim=True), landmarks.amax(dim=1, keepdim=True)
        scale = (CROP_SIZE - 2 * CROP_MARGIN) / (high - low).amax(dim=2, keepdim=True)
        return (points - (low + high) / 2) * scale + CROP_SIZE / 2

    def colours(
        self, theta: Float[Tensor, "faces 350"], normals: Float[Tensor, "faces sample 3"]
    ) -> Float[Tensor, "faces sample 3"]:
        """Shade the sample and encode it in 8-bit sRGB levels (not rounded)."""
        reflectance = self._reflectance_mean + theta[:, REFLECTANCE] @ self._reflectance
        light = theta[:, ILLUMINATION].reshape(-1, 9, 3)
        return shaded_levels(reflectance.reshape(len(theta), -1, 3), normals, light)


def shaded_levels(
    reflectance: Float[Tensor, "faces sample 3"],
    normals: Float[Tensor, "faces sample 3"],
    light: Float[Tensor, "faces 9 3"],
) -> Float[Tensor, "faces sample 3"]:
    """Shade points and encode them in 8-bit sRGB levels, not rounded, for use in a loss."""
    planes = sh_irradiance(normals.permute(2, 1, 0), light)
    linear = reflectance.clamp(min=_DARKEST) * planes.permute(2, 1, 0)
    return soft_levels(linear)


def soft_levels(linear: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Encode linear light in 8-bit sRGB levels for use in a loss: not rounded, with a slope everywhere.

    A little of the slope is kept below `_DARKEST` and above 1, so that faces which come out nearly black
    or burnt still get a gradient (in light below zero only the light's other terms help).
    """
    clipped = linear.clamp(_DARKEST, 1.0) + 0.1 * (linear - linear.clamp(_DARKEST, 1.0))
    return 255 * (1.055 * clipped.clamp(min=1e-4).pow(1 / 2.4) - 0.055)

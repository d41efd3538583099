"""Photographs as their own teachers: the image formation as a differentiable decoder (Tewari et al. 2017).

The network's answer is rendered and compared with the photograph it came from, as MoFA does: colours at
the pixels of the face region, the 66 landmarks, and a statistical term that keeps faces probable. Nothing
of the photographs needs to be known but where a detector sees landmarks.

Convention:
    Each term is in the unit of the measure that it stands for (8-bit levels, crop pixels, squared standard
    deviations), averaged over the photos; `PhotometricWeights` turns them into one loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from inversefacenet.camera import CROP_SIZE
from inversefacenet.parameters import EXPRESSION, REFLECTANCE, SHAPE
from training.image_space import soft_levels
from training.photo_corpus import PhotoBatch
from training.torch_model import TorchFaceModel
from training.torch_renderer import screen_points, shade_fragments, visible_triangles

STRIDE: Final = 2
"""Every so many rows and columns are compared, with a shift drawn anew for each batch."""

_SMOOTH: Final = 1.0


@dataclass(frozen=True)
class PhotometricWeights:
    """What each term counts in the loss.

    Attributes:
        colour: For a level of photometric error.
        landmark: For a crop pixel of mean landmark distance.
        shape: For a squared standard deviation, summed over the shape coefficients.
        expression: The same of expression.
        reflectance: The same of reflectance.
    """

    colour: float = 1.0
    landmark: float = 2.0
    shape: float = 0.02
    expression: float = 0.02
    reflectance: float = 0.01


class PhotometricLoss:
    """Compares answers with the photographs that they are answers to."""

    def __init__(
        self, model: TorchFaceModel, weights: PhotometricWeights | None = None, stride: int = STRIDE
    ) -> None:
        """Keep the model, which must be on the device of the answers.

        Args:
            model: The face model.
            weights: What each term counts.
            stride: Every so many rows and columns are compared.
        """
        self._model = model
        self._weights = weights or PhotometricWeights()
        self._stride = stride

    def __call__(self, theta: Float[Tensor, "photos 350"], photos: PhotoBatch) -> dict[str, Tensor]:
        """Return the weighted terms by name: photo_colour, photo_landmark, photo_prior."""
        colour, landmark = self.errors(theta, photos)
        weights = self._weights
        prior = theta.new_zeros(())
        for group, weight in (
            (SHAPE, weights.shape),
            (EXPRESSION, weights.expression),
            (REFLECTANCE, weights.reflectance),
        ):
            prior = prior + weight * theta[:, group].square().sum(dim=1).mean()
        return {
            "photo_colour": weights.colour * colour.mean(),
            "photo_landmark": weights.landmark * landmark.mean(),
            "photo_prior": prior,
        }

    def errors(
        self, theta: Float[Tensor, "photos 350"], photos: PhotoBatch
    ) -> tuple[Float[Tensor, "photos"], Float[Tensor, "photos"]]:
        """Return each photo's error of colour and of landmarks; gradients flow to `theta`.

        The first is the photometric error (8-bit levels, uncovered pixels count as black) at the compared
        pixels, with colours beyond the displayable kept apart; the second the mean distance in crop pixels,
        smoothed near zero. Which triangle a pixel sees, and which jaw points are the contour's, is taken
        as given.
        """
        faces = self._model.pose(theta)
        scale, offset = self._model.fit_placement(faces.landmarks, CROP_SIZE)
        landmarks = faces.landmarks * scale[:, None, None] + offset[:, None]
        points = screen_points(faces.vertices, scale, offset)
        triangles = visible_triangles(self._model, points, CROP_SIZE)
        compared = photos.masks & self._grid(theta.device)
        shown = torch.where(compared, triangles, -1)
        linear = shade_fragments(self._model, faces, points, shown.to(torch.int32))
        levels = soft_levels(linear) * (shown >= 0)[..., None]
        difference = (levels - photos.crops.float()).square().sum(dim=3) * compared
        count = 3 * compared.flatten(1).sum(dim=1).clamp(min=1)
        colour = (difference.flatten(1).sum(dim=1) / count + _SMOOTH).sqrt()
        kept = self._model.kept_landmarks
        distance = (landmarks[:, kept] - photos.landmarks[:, kept]).square().sum(dim=2)
        return colour, (distance + _SMOOTH).sqrt().mean(dim=1)

    def _grid(self, device: torch.device) -> Tensor:
        """Return the compared rows and columns, shifted at random."""
        row, column = torch.randint(0, self._stride, (2,)).tolist()
        grid = torch.zeros(CROP_SIZE, CROP_SIZE, dtype=torch.bool, device=device)
        grid[row :: self._stride, column :: self._stride] = True
        return grid

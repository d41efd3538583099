"""Which points of a posed face its photo shows, and how well.

Convention:
    A weight is 1 where the photo is taken as it is and 0 where it can't be: turned away, too grazing, behind
    another part of the face, outside the photo, or so near to an outline that a fit which is off by a few
    pixels would show the background, or the nose on the cheek behind it. What is in front of a face, such as
    a hand, isn't known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image, ImageFilter

from inversefacenet.camera import CAMERA_DISTANCE, Placement
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.rasterizer import Fragments, rasterize, vertex_normals
from inversefacenet.rendering import screen_points
from inversefacenet.texture.sampling import bilinear

VIEW_SIZE: Final = 480
"""Pixels of the longer side of the face in the picture that tells what is seen."""

GRAZING: Final = (0.15, 0.45)
"""Cosines between normal and direction of view: nothing is taken below the first, all above the second."""

OUTLINE_MARGIN: Final = 0.02
"""How far from its outline a face isn't trusted, as a share of its longer side."""

EDGE_MARGIN: Final = 0.006
"""The same for edges of depth within a face."""

EDGE_STEP: Final = 5.0
"""Millimetres between neighbouring pixels that make an edge of depth."""

DEPTH_TOLERANCE: Final = 0.5
"""Millimetres that a point may lie behind what is seen, for a surface that faces the camera."""


@dataclass(frozen=True, eq=False)
class View:
    """A posed face as its photo sees it.

    Attributes:
        model: The face model.
        vertices: In camera axes, millimetres from the pivot.
        photo_placement: Image plane at unit distance to the photo's pixels.
        photo_size: The photo's width and height.
    """

    model: MorphableModel
    vertices: Float32[np.ndarray, "vertices 3"]
    photo_placement: Placement
    photo_size: tuple[int, int]

    @cached_property
    def points(self) -> Float32[np.ndarray, "vertices 3"]:
        """The vertices in the photo's pixels, and their inverse depth."""
        return screen_points(self.vertices, self.photo_placement)

    @cached_property
    def to_view(self) -> Placement:
        """The photo's pixels to those of the small picture."""
        low, high = self.points[:, :2].min(axis=0), self.points[:, :2].max(axis=0)
        scale = (VIEW_SIZE - 4) / float((high - low).max())
        return Placement(scale, (2 - scale * float(low[0]), 2 - scale * float(low[1])))

    @cached_property
    def fragments(self) -> Fragments:
        """What each pixel of the small picture sees."""
        placed = self.points.copy()
        placed[:, :2] = self.to_view.apply(placed[:, :2])
        width, height = (int(n) for n in np.ceil(placed[:, :2].max(axis=0)) + 2)
        return rasterize(placed, self.model.triangles, height, width)

    @cached_property
    def facing(self) -> Float32[np.ndarray, " vertices"]:
        """Cosine between each vertex's normal and the direction to the camera."""
        to_camera = np.array([0, 0, CAMERA_DISTANCE], np.float32) - self.vertices
        to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
        normals = vertex_normals(self.vertices, self.model.triangles)
        return np.asarray((normals * to_camera).sum(axis=1), np.float32)

    @cached_property
    def trusted(self) -> Float32[np.ndarray, "height width"]:
        """How far each pixel of the small picture is from outlines and edges: 0 at them, 1 well inside."""
        inside = self.fragments.mask & self._in_photo()
        near_edges = _near(self._edges(), EDGE_MARGIN * VIEW_SIZE)
        return _inner(inside, OUTLINE_MARGIN * VIEW_SIZE) * (1 - near_edges)

    def weights(
        self,
        points: Float32[np.ndarray, "points 2"],
        inverse_depth: Float32[np.ndarray, " points"],
        facing: Float32[np.ndarray, " points"],
    ) -> Float32[np.ndarray, " points"]:
        """Return how well points of the surface are seen.

        Args:
            points: Where they lie in the photo's pixels.
            inverse_depth: Their inverse depth in 1/mm.
            facing: Cosine between normal and direction to the camera.
        """
        local = self.to_view.apply(points)
        height, width = self.trusted.shape
        column = np.clip(local[:, 0].astype(np.int32), 0, width - 1)
        row = np.clip(local[:, 1].astype(np.int32), 0, height - 1)
        depth = 1 / inverse_depth
        # A pixel's own depth is that of its centre, half a pixel away on a surface that may slope.
        pixel = CAMERA_DISTANCE / (self.photo_placement.scale * self.to_view.scale)
        slope = np.sqrt(np.maximum(1 - facing**2, 0)) / np.maximum(facing, 0.1)
        behind = depth - self.fragments.depth[row, column]
        seen = behind < DEPTH_TOLERANCE + pixel * slope
        trusted = bilinear(self.trusted[..., None], local)[:, 0]
        return np.asarray(seen * trusted * smoothstep(facing, *GRAZING), np.float32)

    def _in_photo(self) -> Bool[np.ndarray, "height width"]:
        height, width = self.fragments.mask.shape
        back = self.to_view.inverse()
        x = back.scale * (np.arange(width) + 0.5) + back.offset[0]
        y = back.scale * (np.arange(height) + 0.5) + back.offset[1]
        across, down = (x > 0) & (x < self.photo_size[0]), (y > 0) & (y < self.photo_size[1])
        return np.asarray(down[:, None] & across[None, :])

    def _edges(self) -> Bool[np.ndarray, "height width"]:
        """Mark pixels on either side of a step in depth between skin and skin."""
        skin = np.append(self.model.triangle_part == 0, False)[self.fragments.triangle]
        depth = np.where(skin, self.fragments.depth, np.nan).astype(np.float32)
        edges = np.zeros(depth.shape, bool)
        with np.errstate(invalid="ignore"):
            across = np.abs(np.diff(depth, axis=1)) > EDGE_STEP
            down = np.abs(np.diff(depth, axis=0)) > EDGE_STEP
        edges[:, 1:] |= across
        edges[:, :-1] |= across
        edges[1:] |= down
        edges[:-1] |= down
        return edges


def smoothstep(values: Float32[np.ndarray, "..."], low: float, high: float) -> Float32[np.ndarray, "..."]:
    """Return 0 below `low`, 1 above `high`, and a smooth rise between."""
    share = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def _inner(mask: Bool[np.ndarray, "height width"], margin: float) -> Float32[np.ndarray, "height width"]:
    """Return a weight that is 0 up to a margin within a mask's outline and rises to 1 at twice the margin."""
    # A border of its own, so that the picture's edge counts as outside.
    padded = Image.fromarray(np.pad(mask, 1).astype(np.uint8) * 255)
    share = np.asarray(padded.filter(ImageFilter.BoxBlur(2 * margin)), np.float32)[1:-1, 1:-1] / 255
    return smoothstep(share, 0.75, 1)


def _near(mask: Bool[np.ndarray, "height width"], margin: float) -> Float32[np.ndarray, "height width"]:
    """Return 1 up to a margin around a mask, falling to 0 at some twice the margin."""
    radius = max(1, round(margin))
    grown = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(2 * radius + 1))
    return np.asarray(grown.filter(ImageFilter.BoxBlur(radius)), np.float32) / 255

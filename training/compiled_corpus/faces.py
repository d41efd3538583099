"""A batch of faces from parameters: geometry and reflectance by one matrix product each, landmarks, crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Int32, Int64, UInt8

from inversefacenet.camera import CROP_SIZE, JAW_POINTS, project, rotation_matrix
from inversefacenet.crop import KEPT_LANDMARKS, LANDMARK_COUNT
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import EXPRESSION, ILLUMINATION, REFLECTANCE, ROTATION, SHAPE
from training.compiled_corpus.masking import fill_mask
from training.compiled_corpus.rasterizing import VERTEX_VALUES, draw, pose, shade, split, sum_normals

FACES_AT_ONCE: Final = 32
"""Faces of one matrix product: enough to read the bases seldom, few enough to stay in a shared cache."""


@dataclass(frozen=True)
class Room:
    """Memory for drawing one face.

    Attributes:
        posed: Planes of coordinates in camera axes.
        corners: The same, vertex by vertex.
        normals: Sums of the triangles' normals.
        vertices: Vertices in the picture, with their colours.
        pixels: Inverse depth, red, green and blue of each pixel.
        picture: Planes of linear red, green and blue.
        nearest: Inverse depth of each pixel, 0 where nothing is seen.
    """

    posed: Float32[np.ndarray, "3 vertices"]
    corners: Float32[np.ndarray, "vertices 4"]
    normals: Float32[np.ndarray, "vertices 4"]
    vertices: Float32[np.ndarray, "vertices values"]
    pixels: Float32[np.ndarray, "size size 4"]
    picture: Float32[np.ndarray, "3 size size"]
    nearest: Float32[np.ndarray, "size size"]


class FaceBatches:
    """A face model as the compiled functions take it."""

    def __init__(self, model: MorphableModel) -> None:
        """Order the model's vectors by coordinate: all x, then all y, then all z."""
        count = model.vertex_count
        order = np.arange(3 * count).reshape(count, 3).T.reshape(-1)
        self.vertex_count: Final = count
        self._geometry: Final = np.ascontiguousarray(model.geometry_directions[:, order])
        self._mean_geometry: Final = np.ascontiguousarray(model.mean_geometry.T)
        self._reflectance: Final = np.ascontiguousarray(model.reflectance_directions[:, order])
        self._mean_reflectance: Final = np.ascontiguousarray(model.mean_reflectance.T)
        self._triangles: Final[Int32[np.ndarray, "triangles 3"]] = np.ascontiguousarray(model.triangles)
        self._points: Final[Int64[np.ndarray, "points"]] = np.concatenate(
            [model.landmarks, model.contour_candidates.reshape(-1)]
        ).astype(np.int64)
        self._directions: Final = model.contour_directions.astype(np.float64)

    def offsets(
        self, theta: Float32[np.ndarray, "faces 350"]
    ) -> tuple[Float32[np.ndarray, "faces 3 vertices"], Float32[np.ndarray, "faces 3 vertices"]]:
        """Return what geometry and reflectance add to their means, in planes (Eq. 2 and 3)."""
        shapes = np.ascontiguousarray(theta[:, SHAPE.start : EXPRESSION.stop]) @ self._geometry
        colours = np.ascontiguousarray(theta[:, REFLECTANCE]) @ self._reflectance
        return shapes.reshape(len(theta), 3, -1), colours.reshape(len(theta), 3, -1)

    def place(
        self,
        theta: Float32[np.ndarray, "faces 350"],
        geometry: Float32[np.ndarray, "faces 3 vertices"],
        noise: Float[np.ndarray, "faces 68 2"] | None,
        size: int = CROP_SIZE,
    ) -> tuple[Float32[np.ndarray, "faces 68 2"], Float32[np.ndarray, "faces 3"]]:
        """Fit the faces' landmarks into their crops.

        Args:
            theta: The faces' parameters.
            geometry: What their geometry adds to the mean.
            noise: Pixels by which a detector would miss the landmarks.
            size: Side of the crops in pixels.

        Returns:
            Landmarks in crop pixels; scale and offsets of the image plane at unit distance.
        """
        points = self._landmark_points(theta, geometry)
        placement = _fit(points, size)
        if noise is not None:
            points = points + noise / placement[:, :1, None]
            placement = _fit(points, size)
        pixels = points * placement[:, :1, None] + placement[:, None, 1:]
        return pixels.astype(np.float32), placement.astype(np.float32)

    def _landmark_points(
        self, theta: Float32[np.ndarray, "faces 350"], geometry: Float32[np.ndarray, "faces 3 vertices"]
    ) -> Float[np.ndarray, "faces 68 2"]:
        """Project the landmarks; jaw points slide to the visible contour."""
        rotation = rotation_matrix(theta[:, ROTATION].astype(np.float64))
        model_space = geometry[:, :, self._points] + self._mean_geometry[:, self._points]
        plane = project((rotation @ model_space).transpose(0, 2, 1))
        points, candidates = plane[:, :LANDMARK_COUNT], plane[:, LANDMARK_COUNT:]
        candidates = candidates.reshape(len(theta), JAW_POINTS, -1, 2)
        roll = theta[:, ROTATION][:, 2].astype(np.float64)
        c, s = np.cos(roll)[:, None, None], np.sin(roll)[:, None, None]
        x, y = self._directions[:, :1], self._directions[:, 1:]
        along = candidates[..., 0] * (c * x - s * y) - candidates[..., 1] * (s * x + c * y)
        best = along.argmax(axis=2)[:, :, None, None]
        jaw = np.take_along_axis(candidates, best, axis=2)[:, :, 0]
        return np.concatenate([jaw, points[:, JAW_POINTS:]], axis=1)

    def room(self, size: int) -> Room:
        """Return room for one face, to be used for one after the other."""
        count = self.vertex_count
        return Room(
            posed=np.empty((3, count), np.float32),
            corners=np.empty((count, 4), np.float32),
            normals=np.empty((count, 4), np.float32),
            vertices=np.empty((count, VERTEX_VALUES), np.float32),
            pixels=np.empty((size, size, 4), np.float32),
            picture=np.empty((3, size, size), np.float32),
            nearest=np.empty((size, size), np.float32),
        )

    def draw(
        self,
        theta: Float32[np.ndarray, "350"],
        geometry: Float32[np.ndarray, "3 vertices"],
        reflectance: Float32[np.ndarray, "3 vertices"],
        placement: Float32[np.ndarray, "3"],
        room: Room,
    ) -> None:
        """Draw a face into `room.picture` and `room.nearest`.

        Args:
            theta: Its parameters.
            geometry: What its geometry adds to the mean.
            reflectance: What its reflectance adds to the mean.
            placement: Where it lies in the picture.
            room: Where to work.
        """
        light = np.ascontiguousarray(theta[ILLUMINATION]).reshape(9, 3)
        rotation = rotation_matrix(theta[ROTATION]).astype(np.float32)
        pose(geometry, self._mean_geometry, rotation, room.posed)
        sum_normals(room.posed, self._triangles, room.corners, room.normals)
        shade(room.posed, room.normals, reflectance, self._mean_reflectance, light, placement, room.vertices)
        draw(room.vertices, self._triangles, room.pixels)
        split(room.pixels, room.nearest, room.picture)


def face_mask(landmarks: Float32[np.ndarray, "68 2"], size: int) -> UInt8[np.ndarray, "size size"]:
    """Return the face region: 1 inside, 0 outside."""
    mask = np.empty((size, size), np.uint8)
    fill_mask(landmarks, mask)
    return mask


def _fit(points: Float[np.ndarray, "faces 68 2"], size: int) -> Float[np.ndarray, "faces 3"]:
    """Fit the 66 points' bounding boxes uniformly and centred into crops, as `fit_placement` does."""
    kept = points[:, KEPT_LANDMARKS]
    low, high = kept.min(axis=1), kept.max(axis=1)
    scale = (size - 2 * size / CROP_SIZE) / (high - low).max(axis=1, keepdims=True)
    return np.concatenate([scale, size / 2 - scale * (low + high) / 2], axis=1)

"""Points of the surface that pixels see: where they lie in the crop, and how they move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from inversefacenet.camera import project
from inversefacenet.fitting.placing import Motion, projection
from inversefacenet.fitting.posed import PosedFace
from inversefacenet.fitting.view import View


@dataclass(frozen=True, eq=False)
class Samples:
    """Points of the surface.

    Attributes:
        corners: The vertices of each point's triangle.
        weights: Their barycentric weights in space.
    """

    corners: Int64[np.ndarray, "samples 3"]
    weights: Float[np.ndarray, "samples 3"]

    @classmethod
    def seen(cls, face: PosedFace, seen: View, pixels: Int64[np.ndarray, "samples"]) -> Samples:
        """Return what covered pixels, given in reading order, see of a face."""
        triangle = seen.fragments.triangle.ravel()[pixels]
        return cls(
            face.directions.model.triangles[triangle].astype(np.int64),
            seen.fragments.barycentric.reshape(-1, 3)[pixels].astype(face.vertices.dtype),
        )

    def points(self, face: PosedFace) -> Float[np.ndarray, "samples 3"]:
        """Return the points in camera axes."""
        return np.einsum("sk,ski->si", self.weights, face.vertices[self.corners])

    def positions(self, face: PosedFace) -> Float[np.ndarray, "samples 2"]:
        """Return where they lie in the crop."""
        return face.placement.apply(project(self.points(face)))

    def velocities(self, face: PosedFace) -> Float[np.ndarray, "samples 3 192"]:
        """Return the points' derivatives by shape and expression, in model axes."""
        near = face.directions.geometry[self.corners]
        moved = np.matmul(self.weights[:, None, :], near.reshape(len(near), 3, -1))
        return moved.reshape(len(near), 3, -1)

    def part(self, chosen: slice) -> Samples:
        """Return some of the points."""
        return Samples(self.corners[chosen], self.weights[chosen])


def position_rows(
    face: PosedFace, moved: Motion, samples: Samples, along: Float[np.ndarray, "samples rows 2"]
) -> Float[np.ndarray, "samples rows 195"]:
    """Return the derivatives of the samples' positions in the crop along directions.

    Args:
        face: The face.
        moved: Its placement's derivatives.
        samples: The points.
        along: Directions in the crop; a row of the result for each.
    """
    points = samples.points(face)
    flat = project(points)
    own = face.placement.scale * (along @ projection(points))
    by_turn = own @ np.einsum("aij,sj->sia", moved.turns, points)
    by_shape = np.matmul(own @ face.rotation, samples.velocities(face))
    # The placement's scale and offset move all points alike: three rows, combined.
    shares = np.concatenate([(along @ flat[:, :, None]), along], axis=2)
    shared = shares.reshape(-1, 3) @ np.concatenate([moved.scale[None], moved.offset])
    rows = shared.reshape(*along.shape[:2], -1)
    rows[:, :, :3] += by_turn
    rows[:, :, 3:] += by_shape
    return rows

"""Z-buffer rasterization of triangle meshes, compiled by numba.

Convention:
    Points are (x, y, inverse depth): x and y in continuous pixels, x right and y down, pixel centres at
    half integers; depth is the distance from the camera along its axis in millimetres. A triangle faces
    the camera when its corners turn counter-clockwise as seen with y up. A pixel belongs to a triangle
    when its centre lies inside or on an edge; of equal depths the triangle that comes first wins.

`inversefacenet.rasterizer_reference` does the same slowly and plainly; the tests hold the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int32

from inversefacenet.errors import FaceModelError
from inversefacenet.face_kernels import checked_triangles, vertex_normals
from inversefacenet.pixel_kernels import LANES, fill, interpolate_into, weigh

__all__ = ["Fragments", "SeenTriangles", "empty_rows", "interpolate", "rasterize", "vertex_normals"]


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees.

    Attributes:
        triangle: Index of the nearest triangle, -1 where there is none.
        barycentric: Perspective-correct weights of the triangle's corners, 0 where there is none.
        depth: Distance from the camera along its axis in millimetres, infinite where there is none.
    """

    triangle: Int32[np.ndarray, "height width"]
    barycentric: Float32[np.ndarray, "height width 3"]
    depth: Float32[np.ndarray, "height width"]

    @property
    def mask(self) -> Bool[np.ndarray, "height width"]:
        """True where a triangle is seen."""
        return self.triangle >= 0


class SeenTriangles(Fragments):
    """The same of a picture whose triangles are known: weights and depths are computed when they are needed.

    Most callers need the triangles alone.
    """

    def __init__(
        self,
        triangle: Int32[np.ndarray, "height width"],
        inverse_depth: Float32[np.ndarray, "height width"],
        points: Float32[np.ndarray, "vertices 3"],
        triangles: Int32[np.ndarray, "triangles 3"],
    ) -> None:
        # The class is frozen: attributes are set once, here.
        self.__dict__.update(
            triangle=triangle, _inverse_depth=inverse_depth, _points=points, _triangles=triangles
        )

    @cached_property
    def barycentric(self) -> Float32[np.ndarray, "height width 3"]:
        """Perspective-correct weights of the triangle's corners, 0 where there is none."""
        weights = np.zeros((*self.triangle.shape, 3), np.float32)
        weigh(self.__dict__["_points"], self.__dict__["_triangles"], self.triangle, weights)
        return weights

    @cached_property
    def depth(self) -> Float32[np.ndarray, "height width"]:
        """Distance from the camera along its axis in millimetres, infinite where there is none."""
        with np.errstate(divide="ignore"):
            return np.float32(1) / self.__dict__["_inverse_depth"]


def rasterize(
    points: Float32[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    height: int,
    width: int,
) -> Fragments:
    """Find the nearest front-facing triangle of every pixel.

    The cost of a triangle is proportional to its rows and the pixels that it covers.

    Args:
        points: Pixel coordinates and inverse depth (1/mm, positive in front of the camera).
        triangles: Vertex indices.
        height: Rows of the picture.
        width: Columns of the picture.

    Raises:
        FaceModelError: If triangles name points that there aren't.
    """
    points = np.ascontiguousarray(points, np.float32)
    triangles = checked_triangles(triangles, len(points))
    triangle, inverse_depth = empty_rows(height, width)
    fill(points, triangles, width, triangle, inverse_depth)
    return SeenTriangles(
        np.ascontiguousarray(triangle[:, :width]),
        np.ascontiguousarray(inverse_depth[:, :width]),
        points,
        triangles,
    )


def empty_rows(
    height: int, width: int
) -> tuple[Int32[np.ndarray, "height columns"], Float32[np.ndarray, "height columns"]]:
    """Return room for what `pixel_kernels.fill` finds; of a narrow picture the rows are longer than it."""
    shape = height, max(width, LANES)
    return np.empty(shape, np.int32), np.empty(shape, np.float32)


def interpolate(
    fragments: Fragments,
    triangles: Int32[np.ndarray, "triangles 3"],
    attributes: Float32[np.ndarray, "vertices channels"],
) -> Float32[np.ndarray, "height width channels"]:
    """Interpolate vertex attributes over the picture, 0 where no triangle is seen.

    Raises:
        FaceModelError: If triangles name vertices, or pixels triangles, that there aren't.
    """
    height, width = fragments.triangle.shape
    triangles = checked_triangles(triangles, len(attributes))
    if fragments.triangle.max(initial=-1) >= len(triangles):
        raise FaceModelError("The picture sees triangles that the mesh does not have.")
    picture = np.zeros((height, width, attributes.shape[1]), np.float32)
    interpolate_into(
        fragments.triangle,
        fragments.barycentric,
        triangles,
        np.ascontiguousarray(attributes, np.float32),
        picture,
    )
    return picture

"""The face's surface, vertex by vertex, as it lies in the photo."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, TypeVar

import numpy as np
from jaxtyping import Float32, Int32

from inversefacenet.camera import CAMERA_DISTANCE, Placement, rotation_matrix
from inversefacenet.editing.mesh_kernels import neighbours_of, smoothed
from inversefacenet.errors import LandmarkError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import vertex_normals
from inversefacenet.rendering import screen_points

_KEPT: Final = 4
_FOLD_SMOOTHINGS: Final = 20
Kept = TypeVar("Kept")


class Recent:
    """The last few results of a computation, by what they were made of."""

    def __init__(self, size: int = _KEPT) -> None:
        """Keep so many results at most."""
        self._size = size
        self._kept: OrderedDict[Any, Any] = OrderedDict()

    def get(self, key: object, make: Callable[[], Kept]) -> Kept:
        """Return the result of a key, made now if it isn't there."""
        if key in self._kept:
            self._kept.move_to_end(key)
        else:
            made = make()
            self._kept[key] = made
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return self._kept[key]


@dataclass(frozen=True, eq=False)
class Surface:
    """A posed face.

    Attributes:
        vertices: In camera axes, millimetres.
        normals: Unit normals in camera axes.
        lit_normals: The same for shading: what an expression folds is smooth.
            The photo shows its own folds; the mesh's lie beside them, and would be seen as wedges of light.
        rotation: Model space to camera axes.
        screen: The photo's continuous pixels and inverse depth (`rasterizer`).
    """

    vertices: Float32[np.ndarray, "vertices 3"]
    normals: Float32[np.ndarray, "vertices 3"]
    lit_normals: Float32[np.ndarray, "vertices 3"]
    rotation: Float32[np.ndarray, "3 3"]
    screen: Float32[np.ndarray, "vertices 3"]

    @cached_property
    def facing(self) -> Float32[np.ndarray, "vertices"]:
        """Cosines of the angles between the normals and the directions to the camera."""
        towards = np.array([0, 0, CAMERA_DISTANCE], np.float32) - self.vertices
        towards /= np.sqrt(np.einsum("vc,vc->v", towards, towards))[:, None]
        return np.einsum("vc,vc->v", towards, self.normals)


@lru_cache(maxsize=2)
def links_of(model: MorphableModel) -> tuple[Int32[np.ndarray, "starts"], Int32[np.ndarray, "links"]]:
    """Return what joins a face model's vertices (`mesh_kernels.neighbours_of`)."""
    return neighbours_of(model.triangles, model.vertex_count)


class Surfaces:
    """Makes surfaces, and remembers what they are made of: a slider moves one group at a time."""

    def __init__(self, model: MorphableModel, placement: Placement) -> None:
        """Take the face model and the image plane's placement in the photo."""
        self.model = model
        self.placement = placement
        self._shapes, self._surfaces, self._reflectances = Recent(), Recent(), Recent()
        self._resting, self._folds = Recent(), Recent()

    def of(self, parameters: Parameters) -> Surface:
        """Return a face's surface.

        Raises:
            LandmarkError: If the parameters are so large that the face has no finite extent.
        """
        key = tuple(getattr(parameters, name).tobytes() for name in ("shape", "expression", "rotation"))
        return self._surfaces.get(key, lambda: self._make(parameters))

    def reflectance(self, parameters: Parameters) -> Float32[np.ndarray, "vertices 3"]:
        """Return the reflectance of each vertex; it is not clipped."""
        coefficients = parameters.reflectance
        return self._reflectances.get(coefficients.tobytes(), lambda: self.model.reflectance(coefficients))

    def _make(self, parameters: Parameters) -> Surface:
        directions, count = self.model.geometry_directions, len(parameters.shape)
        key = parameters.shape.tobytes()
        shape = self._shapes.get(key, lambda: parameters.shape @ directions[:count])
        offsets = (shape + parameters.expression @ directions[count:]).reshape(-1, 3)
        rotation = rotation_matrix(parameters.rotation).astype(np.float32)
        geometry = self.model.mean_geometry + offsets
        vertices = geometry @ rotation.T
        screen = screen_points(vertices, self.placement)
        if not (np.isfinite(screen).all() and (screen[:, 2] > 0).all()):
            raise LandmarkError("The parameters are so large that they lead to no finite face.")
        triangles = self.model.triangles

        def unfolded() -> Float32[np.ndarray, "vertices 3"]:
            resting = self._resting.get(
                key, lambda: vertex_normals(self.model.mean_geometry + shape.reshape(-1, 3), triangles)
            )
            folds = vertex_normals(geometry, triangles) - resting
            lit = resting + smoothed(folds, *links_of(self.model), _FOLD_SMOOTHINGS)
            return lit / np.maximum(np.sqrt(np.einsum("vc,vc->v", lit, lit))[:, None], np.float32(1e-6))

        lit = self._folds.get((key, parameters.expression.tobytes()), unfolded)
        return Surface(vertices, vertex_normals(vertices, triangles), lit @ rotation.T, rotation, screen)

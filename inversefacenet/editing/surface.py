"""The face's surface, vertex by vertex, as it lies in the photo."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np
from jaxtyping import Float32

from inversefacenet.camera import CAMERA_DISTANCE, Placement, rotation_matrix
from inversefacenet.errors import LandmarkError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import vertex_normals
from inversefacenet.rendering import screen_points

_KEPT: Final = 4
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
        rotation: Model space to camera axes.
        screen: The photo's continuous pixels and inverse depth (`rasterizer`).
    """

    vertices: Float32[np.ndarray, "vertices 3"]
    normals: Float32[np.ndarray, "vertices 3"]
    rotation: Float32[np.ndarray, "3 3"]
    screen: Float32[np.ndarray, "vertices 3"]

    @cached_property
    def facing(self) -> Float32[np.ndarray, "vertices"]:
        """Cosines of the angles between the normals and the directions to the camera."""
        towards = np.array([0, 0, CAMERA_DISTANCE], np.float32) - self.vertices
        towards /= np.sqrt(np.einsum("vc,vc->v", towards, towards))[:, None]
        return np.einsum("vc,vc->v", towards, self.normals)


class Surfaces:
    """Makes surfaces, and remembers what they are made of: a slider moves one group at a time."""

    def __init__(self, model: MorphableModel, placement: Placement) -> None:
        """Take the face model and the image plane's placement in the photo."""
        self.model = model
        self.placement = placement
        self._shapes, self._surfaces, self._reflectances = Recent(), Recent(), Recent()

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
        shape = self._shapes.get(parameters.shape.tobytes(), lambda: parameters.shape @ directions[:count])
        offsets = (shape + parameters.expression @ directions[count:]).reshape(-1, 3)
        rotation = rotation_matrix(parameters.rotation).astype(np.float32)
        vertices = (self.model.mean_geometry + offsets) @ rotation.T
        screen = screen_points(vertices, self.placement)
        if not (np.isfinite(screen).all() and (screen[:, 2] > 0).all()):
            raise LandmarkError("The parameters are so large that they lead to no finite face.")
        return Surface(vertices, vertex_normals(vertices, self.model.triangles), rotation, screen)

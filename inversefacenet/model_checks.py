"""What a face model must fulfil before compiled code, which checks no index, reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Shaped

from inversefacenet.errors import FaceModelError

if TYPE_CHECKING:
    from inversefacenet.morphable_model import MorphableModel

_SHAPES: Final[dict[str, tuple[str, tuple[str | int, ...]]]] = {
    "mean_geometry": ("f", ("vertices", 3)),
    "mean_reflectance": ("f", ("vertices", 3)),
    "shape_basis": ("f", ("coordinates", 128)),
    "shape_sigma": ("f", (128,)),
    "expression_basis": ("f", ("coordinates", 64)),
    "expression_sigma": ("f", (64,)),
    "reflectance_basis": ("f", ("coordinates", 128)),
    "reflectance_sigma": ("f", (128,)),
    "triangles": ("iu", ("triangles", 3)),
    "triangle_part": ("iu", ("triangles",)),
    "vertex_part": ("iu", ("vertices",)),
    "painted": ("b", ("triangles",)),
    "landmarks": ("iu", (68,)),
    "contour_candidates": ("iu", (17, "candidates")),
    "contour_directions": ("f", (17, 2)),
    "unit_coefficients": ("f", ("units", 64)),
}
"""Of each array what it may hold, by NumPy's kinds, and its shape."""

_INDICES: Final = {
    "triangles": "vertices",
    "landmarks": "vertices",
    "contour_candidates": "vertices",
    "triangle_part": "parts",
    "vertex_part": "parts",
}
_FINITE: Final = (
    "mean_geometry",
    "mean_reflectance",
    "shape_sigma",
    "expression_sigma",
    "reflectance_sigma",
    "contour_directions",
    "unit_coefficients",
)


def check_parts(model: MorphableModel) -> None:
    """Check that a model's arrays have their shapes, fit together, and name only what there is.

    Raises:
        FaceModelError: If they don't.
    """
    if np.ndim(model.mean_geometry) != 2:
        raise FaceModelError("mean_geometry must have three coordinates a vertex.")
    count = len(model.mean_geometry)
    sizes = {
        "vertices": count,
        "coordinates": 3 * count,
        "triangles": len(model.triangles) if np.ndim(model.triangles) else 0,
        "units": len(model.unit_names),
        "parts": len(model.part_names),
    }
    for name, (kinds, shape) in _SHAPES.items():
        _check_array(name, getattr(model, name), kinds, shape, sizes)
    for name, named in _INDICES.items():
        index = getattr(model, name)
        if index.min() < 0 or index.max() >= sizes[named]:
            raise FaceModelError(f"The face model names {named} that it does not have: see '{name}'.")
    if not all(np.isfinite(getattr(model, name)).all() for name in _FINITE):
        raise FaceModelError("The face model holds numbers that are not finite.")


def _check_array(
    name: str,
    array: Shaped[np.ndarray, "..."],
    kinds: str,
    shape: tuple[str | int, ...],
    sizes: dict[str, int],
) -> None:
    # What has no size elsewhere has any: as many candidates as a model likes.
    wanted = tuple(sizes.get(one, -1) if isinstance(one, str) else one for one in shape)
    fits = array.ndim == len(wanted) and all(
        has == want or want < 0 for has, want in zip(array.shape, wanted, strict=True)
    )
    if not fits:
        told = ", ".join(str(one) if want < 0 else str(want) for one, want in zip(shape, wanted, strict=True))
        raise FaceModelError(f"{name} must have shape ({told}), but has {array.shape}.")
    if array.dtype.kind not in kinds:
        raise FaceModelError(f"{name} holds {array.dtype}, which it must not.")
    if name != "unit_coefficients" and 0 in array.shape:
        raise FaceModelError(f"{name} must not be empty.")

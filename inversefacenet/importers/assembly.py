"""A published model made into this package's own: cut, thinned, aligned, annotated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.errors import FaceModelError
from inversefacenet.importers.decimation import decimate
from inversefacenet.importers.directions import coefficients, principal
from inversefacenet.importers.painted import painted_region
from inversefacenet.importers.raw_model import RawModel
from inversefacenet.importers.surface import check_head, face_region, outward
from inversefacenet.importers.transfer import complete_landmarks, contour_strips, reflectance_of
from inversefacenet.morphable_model import MorphableModel

SHAPES: Final = 128
EXPRESSIONS: Final = 64
REFLECTANCES: Final = 128
DERIVED_UNITS: Final = 20
"""Strongest expression directions that become units, in both senses, where a model has no rig."""

FULL_ACTION: Final = 4.0
"""Standard deviations of a derived unit at weight 1; random expressions stay below three quarters of it."""


@dataclass(frozen=True)
class ImportOptions:
    """What is done with a published model.

    Attributes:
        vertices: Vertices that are kept at most; 0 keeps all. Renderings take time with each.
        region: "face" cuts off neck and back of the head, "all" keeps the mesh as it is.
        views: Random faces by which the painted region is chosen.
    """

    vertices: int = 12_000
    region: Literal["face", "all"] = "face"
    views: int = 300


def assemble(
    raw: RawModel, options: ImportOptions = ImportOptions(), reference: MorphableModel | None = None
) -> MorphableModel:
    """Make a published model into this package's own.

    Args:
        raw: The published model.
        options: What to do with it.
        reference: Where landmarks, jaw strips and colours come from that the model lacks; by default the
            open face model that ships with this package.

    Raises:
        FaceModelError: If the model isn't a face of human size that looks along +z.
    """
    reference = reference or MorphableModel.load_default()
    raw = complete_landmarks(raw, reference)
    check_head(raw)
    raw = face_region(raw) if options.region == "face" else raw.compact()
    if raw.landmarks.min() < 0:
        number = int(raw.landmarks.argmin())
        raise FaceModelError(f"{raw.name}: landmark {number} is a vertex that no triangle of the face uses.")
    raw = outward(raw)
    if not raw.has_colours:
        raw = reflectance_of(raw, reference)
    raw = _thin(raw, options.vertices, reference)
    raw = replace(raw, geometry=raw.geometry - raw.geometry[raw.skin].mean(axis=0))
    return _annotate(raw, options, reference)


def _thin(raw: RawModel, most: int, reference: MorphableModel) -> RawModel:
    if most == 0 or len(raw.geometry) <= most:
        return raw
    part = raw.triangle_part.astype(np.int64)
    # Coarser strips would let jaw points jump.
    strips = contour_strips(raw, reference).astype(np.int64)
    kept = np.unique(np.concatenate([strips.ravel(), raw.landmarks, raw.between[:, 2]]))
    triangles, part = decimate(raw.geometry, raw.reflectance_mean, raw.triangles, part, kept, most)
    return replace(raw, triangles=triangles, triangle_part=part.astype(np.uint8)).compact()


def _annotate(raw: RawModel, options: ImportOptions, reference: MorphableModel) -> MorphableModel:
    shape, shape_sigma = principal(raw.shape, SHAPES)
    expression, expression_sigma = principal(raw.expression, EXPRESSIONS)
    reflectance, reflectance_sigma = principal(raw.reflectance, REFLECTANCES)
    names, weights = _rig(raw, expression, expression_sigma)
    model = MorphableModel(
        name=raw.name,
        mean_geometry=raw.geometry.astype(np.float32),
        mean_reflectance=raw.reflectance_mean.astype(np.float32),
        shape_basis=shape,
        shape_sigma=shape_sigma,
        expression_basis=expression,
        expression_sigma=expression_sigma,
        reflectance_basis=reflectance,
        reflectance_sigma=reflectance_sigma,
        triangles=raw.triangles.astype(np.int32),
        triangle_part=raw.triangle_part,
        vertex_part=vertex_parts(raw),
        part_names=raw.part_names,
        painted=np.ones(len(raw.triangles), bool),
        landmarks=raw.landmarks.astype(np.int32),
        contour_candidates=contour_strips(raw, reference),
        contour_directions=reference.contour_directions,
        unit_names=names,
        unit_coefficients=weights,
    )
    return replace(model, painted=painted_region(model, options.views))


def _rig(
    raw: RawModel,
    basis: Float32[np.ndarray, "coordinates 64"],
    sigma: Float32[np.ndarray, "64"],
) -> tuple[tuple[str, ...], Float32[np.ndarray, "units 64"]]:
    """Return the model's own units, or else its strongest expression directions in both senses."""
    if raw.unit_names:
        return raw.unit_names, coefficients(basis, sigma, raw.units)
    count = min(DERIVED_UNITS, int((sigma > 0).sum()))
    names = tuple(f"expression-{i + 1:02d}{sign}" for i in range(count) for sign in "+-")
    directions = np.eye(EXPRESSIONS, dtype=np.float32)[:count]
    both = np.stack([directions, -directions], axis=1).reshape(2 * count, EXPRESSIONS)
    return names, both * np.float32(FULL_ACTION)


def vertex_parts(raw: RawModel) -> UInt8[np.ndarray, "vertices"]:
    """Return each vertex's part; a vertex between two parts belongs to the first, the skin above all."""
    part = np.full(len(raw.geometry), 255, np.uint8)
    for corner in range(3):
        np.minimum.at(part, raw.triangles[:, corner], raw.triangle_part)
    return part

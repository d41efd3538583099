"""Image formation: parameters in, picture out (Kim et al. 2018, Section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from inversefacenet.camera import (
    CAMERA_DISTANCE,
    CROP_SIZE,
    Placement,
    fit_placement,
    project,
    rotation_matrix,
)
from inversefacenet.colour import level_tables
from inversefacenet.crop import landmarks66
from inversefacenet.face_kernels import projected_landmarks, turn_and_shade
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.pixel_kernels import draw
from inversefacenet.rasterizer import Fragments, SeenTriangles, empty_rows
from inversefacenet.stages import stage


@dataclass(frozen=True)
class Rendering:
    """A rendered face.

    Attributes:
        image: 8-bit sRGB picture, black where no triangle is seen.
        mask: True where the mesh is seen.
        model_mask: True where the painted region is seen, the mouth's interior left out (Section 4.2).
        fragments: Triangle, barycentric weights and depth of each pixel.
        landmarks: The 68 landmarks in the picture's pixels, jaw points on the visible contour.
        placement: Image plane at unit distance to the picture's pixels.
        vertices: Vertices in camera axes, millimetres from the pivot of rotation.
        colours: Linear RGB of each vertex: reflectance times irradiance, not clipped.
    """

    image: UInt8[np.ndarray, "height width 3"]
    mask: Bool[np.ndarray, "height width"]
    model_mask: Bool[np.ndarray, "height width"]
    fragments: Fragments
    landmarks: Float32[np.ndarray, "68 2"]
    placement: Placement
    vertices: Float32[np.ndarray, "vertices 3"]
    colours: Float32[np.ndarray, "vertices 3"]

    def points(self) -> Float32[np.ndarray, "vertices 2"]:
        """Return all vertices in the picture's pixels."""
        return self.placement.apply(project(self.vertices))


def pose_and_shade(
    model: MorphableModel, parameters: Parameters
) -> tuple[Float32[np.ndarray, "vertices 3"], Float32[np.ndarray, "vertices 3"]]:
    """Return vertices in camera axes and their linear colours (Eq. 2 to 4)."""
    return turn_and_shade(
        model.geometry(parameters.shape, parameters.expression),
        model.reflectance(parameters.reflectance),
        rotation_matrix(parameters.rotation).astype(np.float32),
        parameters.illumination.astype(np.float32, copy=False),
        model.triangles,
    )


def render(
    model: MorphableModel,
    parameters: Parameters,
    size: int = CROP_SIZE,
    placement: Placement | None = None,
    shape: tuple[int, int] | None = None,
) -> Rendering:
    """Render a face.

    Args:
        model: The face model.
        parameters: The face's parameters.
        size: Side of a square picture in pixels.
        placement: Image plane to pixels. By default the 66 landmarks' bounding box is fitted into the
            square, as a detected face's is (Section 6.1).
        shape: Height and width, for a picture that is no square; it needs a placement.

    Returns:
        The picture and all that is known of it.
    """
    with stage("geometry"):
        vertices, colours = pose_and_shade(model, parameters)
        landmarks = projected_landmarks(
            vertices,
            model.landmarks,
            model.contour_candidates,
            model.contour_directions,
            float(parameters.rotation[2]),
        )
    if placement is None:
        placement = fit_placement(landmarks66(landmarks), size, margin=size / CROP_SIZE)
    height, width = shape or (size, size)
    with stage("render"):
        points = np.empty_like(vertices)
        triangle, inverse_depth = empty_rows(height, width)
        image = np.empty((height, width, 3), np.uint8)
        mask, model_mask = np.empty((height, width), bool), np.empty((height, width), bool)
        draw(
            vertices,
            model.triangles,
            colours,
            model.counted_triangles,
            *level_tables(),
            np.float32(CAMERA_DISTANCE),
            *(np.float32(number) for number in (placement.scale, *placement.offset)),
            points,
            triangle,
            inverse_depth,
            image,
            mask,
            model_mask,
        )
    return Rendering(
        image=image,
        mask=mask,
        model_mask=model_mask,
        fragments=SeenTriangles(
            np.ascontiguousarray(triangle[:, :width]),
            np.ascontiguousarray(inverse_depth[:, :width]),
            points,
            model.triangles,
        ),
        landmarks=placement.apply(landmarks).astype(np.float32),
        placement=placement,
        vertices=vertices,
        colours=colours,
    )


def screen_points(
    vertices: Float[np.ndarray, "vertices 3"], placement: Placement
) -> Float32[np.ndarray, "vertices 3"]:
    """Return what the rasterizer takes: pixel coordinates and inverse depth."""
    pixels = placement.apply(project(vertices))
    inverse_depth = 1 / (CAMERA_DISTANCE - vertices[:, 2:3])
    return np.concatenate([pixels, inverse_depth], axis=1).astype(np.float32)


def painted_pixels(model: MorphableModel, fragments: Fragments) -> Bool[np.ndarray, "height width"]:
    """Return the pixels that see the painted region, the mouth's interior left out."""
    # Index -1 (nothing seen) reads the last entry of the padded table, which is False.
    return np.append(model.counted_triangles, False)[fragments.triangle]

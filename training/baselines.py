"""What a network must beat: the mean face, given the best constant light colour of each photo."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float, Float32

from inversefacenet.camera import fit_placement, landmark_points, rotation_matrix
from inversefacenet.colour import srgb_encode
from inversefacenet.crop import FaceCrop, landmarks66
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import interpolate
from inversefacenet.rendering import render

_LEVELS: Final = np.geomspace(0.02, 4.0, 60).astype(np.float32)
_PIXELS: Final = 4000
_STEPS: Final = 12
_DELTA: Final = 1e-3


def mean_face(model: MorphableModel, crop: FaceCrop) -> Parameters:
    """Return the unposed mean face in the constant light that fits the crop best.

    Light is the only thing fitted to the photo, by search over its three levels.
    """
    return with_best_constant_light(model, crop, Parameters.neutral())


def posed_mean_face(model: MorphableModel, crop: FaceCrop) -> Parameters:
    """Return the mean face with its pose fitted to the 66 landmarks, in the best constant light.

    It is given the landmarks for nothing, which a network has to find in the pixels.
    """
    rotation = fit_rotation(model, crop.landmarks)
    vector = Parameters.neutral().vector()
    vector[:3] = rotation
    return with_best_constant_light(model, crop, Parameters.from_vector(vector))


def with_best_constant_light(model: MorphableModel, crop: FaceCrop, parameters: Parameters) -> Parameters:
    """Replace the light by the constant one that lowers the photometric error most, by channel."""
    rendering = render(model, parameters)
    reflectance = interpolate(rendering.fragments, model.triangles, model.reflectance(parameters.reflectance))
    seen = np.nonzero((crop.mask & rendering.mask).ravel())[0]
    light = np.zeros((9, 3), np.float32)
    light[0] = parameters.illumination[0]
    if seen.size:
        seen = seen[:: max(1, seen.size // _PIXELS)]
        photo = crop.unmasked.reshape(-1, 3)[seen].astype(np.float32)
        skin = reflectance.reshape(-1, 3)[seen]
        for channel in range(3):
            pictures = 255 * srgb_encode(_LEVELS[:, None] * skin[None, :, channel])
            errors = ((pictures - photo[None, :, channel]) ** 2).mean(axis=1)
            light[0, channel] = _LEVELS[errors.argmin()]
    return Parameters(
        parameters.rotation, parameters.shape, parameters.expression, parameters.reflectance, light
    )


def fit_rotation(model: MorphableModel, landmarks: Float[np.ndarray, "68 2"]) -> Float32[np.ndarray, "3"]:
    """Fit yaw, pitch and roll of the mean face to 66 landmarks in the crop, by Gauss-Newton steps."""

    def residual(angles: Float[np.ndarray, "3"]) -> Float[np.ndarray, "132"]:
        rotated = model.mean_geometry @ rotation_matrix(angles).T.astype(np.float32)
        points = landmark_points(model, rotated, float(angles[2]))
        placed = fit_placement(landmarks66(points)).apply(points)
        return (landmarks66(placed) - landmarks66(landmarks)).ravel().astype(np.float64)

    angles = np.zeros(3)
    current = residual(angles)
    for _ in range(_STEPS):
        jacobian = np.stack(
            [(residual(angles + _DELTA * axis) - current) / _DELTA for axis in np.eye(3)], axis=1
        )
        step = np.linalg.lstsq(jacobian, -current, rcond=None)[0]
        # Points slide and placement jumps, so a step may overshoot: halve it until it helps.
        for _ in range(6):
            tried = np.clip(angles + step, -1.2, 1.2)
            after = residual(tried)
            if after @ after < current @ current:
                angles, current = tried, after
                break
            step /= 2
        else:
            break
    return angles.astype(np.float32)

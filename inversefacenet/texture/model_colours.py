"""The colours that the face model gives a face, for where no photo shows it."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float32

from inversefacenet.illumination import irradiance
from inversefacenet.rasterizer import vertex_normals
from inversefacenet.reconstruction import Reconstruction

BRIGHTNESS: Final = (0.35, 2.0)
"""Least and greatest irradiance, as shares of the face's mean."""

TINT: Final = 1.08
"""Greatest ratio of a channel's share of the irradiance to its share of the face's mean."""


def modelled_colours(reconstruction: Reconstruction) -> Float32[np.ndarray, "vertices 3"]:
    """Return linear colours: reflectance in the estimated light (Kim et al. 2018, Eq. 4), extremes held back.

    What a photo says of the light ends where the face turns away. Beyond, second-order harmonics may swing to
    black or to a strong hue, which is harmless in a rendering as the photo sees it, but not on the side of a
    face that is turned.
    """
    model, vertices = reconstruction.model, reconstruction.rendering.vertices
    normals = vertex_normals(vertices, model.triangles)
    light = irradiance(normals, reconstruction.parameters.illumination)
    front = model.painted_vertices[normals[model.painted_vertices, 2] > 0]
    mean = light[front].mean(axis=0) if len(front) else light.mean(axis=0)
    mean = np.maximum(mean, 1e-3)
    relative = light / mean
    brightness = relative.mean(axis=1, keepdims=True)
    tint = (relative + 1e-3) / (brightness + 1e-3)
    calm = np.clip(brightness, *BRIGHTNESS) * np.clip(tint, 1 / TINT, TINT) * mean
    return np.asarray(np.clip(reconstruction.reflectance() * calm, 0, 1), np.float32)

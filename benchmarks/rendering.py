"""Image formation, measures and encoding beside their floors."""

from __future__ import annotations

import zlib

import numpy as np
from jaxtyping import Float, Float32, UInt8

from benchmarks import kernels
from benchmarks.photos import Example
from benchmarks.timing import Call, Stage
from inversefacenet.camera import CROP_SIZE, rotation_matrix
from inversefacenet.colour import to_uint8
from inversefacenet.face_kernels import turn_and_shade
from inversefacenet.image import encode_png
from inversefacenet.metrics import measure
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.narrow_basis import NarrowDirections
from inversefacenet.rasterizer import interpolate, rasterize
from inversefacenet.rendering import render, screen_points

_TABLE_SIZE = 4096


def rendering_stages(model: MorphableModel, example: Example) -> list[Stage]:
    """Return geometry to encoding, each beside its floor, and the whole rendering beside the sum of them."""
    parameters, rendering = example.parameters, example.rendering
    vertices, triangles, fragments = rendering.vertices, model.triangles, rendering.fragments
    points = screen_points(vertices, rendering.placement)
    rotation = rotation_matrix(parameters.rotation).astype(np.float32)
    shape = model.geometry(parameters.shape, parameters.expression)
    skin = model.reflectance(parameters.reflectance)
    linear = interpolate(fragments, triangles, rendering.colours)
    geometry = product_floors(
        np.concatenate([parameters.shape, parameters.expression]),
        model.geometry_directions,
        model.narrow_geometry,
    )
    reflectance = product_floors(
        parameters.reflectance, model.reflectance_directions, model.narrow_reflectance
    )
    shade = shading_floor(model, example)
    fill = fill_floor(example)
    levels = levels_floor(linear)

    together = {
        f"the five floors above, {name}": in_turn(geometry[name], reflectance[name], shade, fill, levels)
        for name in geometry
    }
    return [
        Stage(
            "geometry",
            lambda: model.geometry(parameters.shape, parameters.expression),
            geometry,
            "Eq. 2",
        ),
        Stage("reflectance", lambda: model.reflectance(parameters.reflectance), reflectance, "Eq. 3"),
        Stage(
            "shade",
            lambda: turn_and_shade(shape, skin, rotation, parameters.illumination, triangles),
            {"gather and scatter": shade},
            "rotation, vertex normals and Eq. 4",
        ),
        Stage(
            "raster",
            lambda: interpolate(
                rasterize(points, triangles, CROP_SIZE, CROP_SIZE), triangles, rendering.colours
            ),
            {"filling the pixels": fill},
            f"{len(triangles)} triangles, {int(rendering.mask.sum())} pixels",
        ),
        Stage("gamma", lambda: to_uint8(linear), {"table look-up": levels}, "linear to 8-bit sRGB"),
        Stage(
            "render",
            lambda: render(model, parameters),
            together,
            "parameters to picture, masks and landmarks",
        ),
        Stage(
            "measure",
            lambda: measure(example.crop, rendering),
            {"one pass over the mask": measure_floor(example)},
            "photometric error, IoU, landmarks",
        ),
        encode_stage(rendering.image),
    ]


def in_turn(*calls: Call) -> Call:
    """Return one call that does several."""

    def do_all() -> None:
        for call in calls:
            call()

    return do_all


def product_floors(
    coefficients: Float[np.ndarray, "coefficients"],
    directions: Float32[np.ndarray, "coefficients coordinates"],
    narrow: NarrowDirections | None,
) -> dict[str, Call]:
    """Return the float32 product alone, one reading of its matrix, and one of the integers instead.

    Without integers, as of a model that was never stored, there are only the first two.
    """
    out = np.empty(directions.shape[1], np.float32)
    flat = directions.reshape(-1)
    wide = coefficients.astype(np.float32)
    floors: dict[str, Call] = {
        "numpy's product": lambda: np.matmul(wide, directions, out=out),
        "reading the matrix": lambda: kernels.read_all(flat),
    }
    if narrow is not None:
        fine, coarse = (part.reshape(-1).view(np.int64) for part in (narrow.fine, narrow.coarse))
        floors["reading the integers"] = in_turn(
            lambda: kernels.read_all(fine), lambda: kernels.read_all(coarse)
        )
    return floors


def shading_floor(model: MorphableModel, example: Example) -> Call:
    """Return the memory traffic of normals and shading."""
    vertices, light = example.rendering.vertices, example.parameters.illumination
    out = np.zeros_like(vertices)
    return lambda: kernels.scatter(vertices, model.triangles, light, out)


def fill_floor(example: Example) -> Call:
    """Return the writing of what the rasterizer and the interpolation find, to the pixels of the face."""
    mask = example.rendering.mask
    triangle = np.zeros(mask.shape, np.int32)
    barycentric, picture = (np.zeros((*mask.shape, 3), np.float32) for _ in range(2))
    inverse_depth = np.zeros(mask.shape, np.float32)
    return lambda: kernels.fill_pixels(mask, triangle, barycentric, inverse_depth, picture)


def levels_floor(linear: Float32[np.ndarray, "height width 3"]) -> Call:
    """Return the encoding of linear values through a table."""
    flat, out = linear.reshape(-1), np.zeros(linear.size, np.uint8)
    table = to_uint8(np.linspace(0, 1, _TABLE_SIZE, dtype=np.float32))
    return lambda: kernels.encode_levels(flat, table, out)


def measure_floor(example: Example) -> Call:
    """Return the photometric error alone, in one pass."""
    crop, picture = example.crop, example.rendering.image
    return lambda: kernels.squared_error(crop.unmasked, picture, crop.mask)


def encode_stage(picture: UInt8[np.ndarray, "height width 3"]) -> Stage:
    """Return PNG encoding beside zlib's deflate of the very bytes that the PNG holds, at its level."""
    content = encode_png(picture)
    stream = png_stream(content)
    filtered = zlib.decompress(stream)
    level = nearest_level(filtered, len(stream))

    def deflate() -> bytes:
        return zlib.compress(filtered, level)

    return Stage(
        "encode",
        lambda: encode_png(picture),
        {f"zlib at level {level}": deflate},
        f"PNG, {len(content)} bytes",
    )


def nearest_level(content: bytes, size: int) -> int:
    """Return the level at which zlib's output is nearest in size to another encoder's."""
    return min(range(1, 10), key=lambda level: abs(len(zlib.compress(content, level)) - size))


def png_stream(content: bytes) -> bytes:
    """Return a PNG's compressed pixels (the IDAT chunks, PNG specification, 5.3)."""
    position, parts = 8, []
    while position < len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        if content[position + 4 : position + 8] == b"IDAT":
            parts.append(content[position + 8 : position + 8 + length])
        position += 12 + length
    return b"".join(parts)

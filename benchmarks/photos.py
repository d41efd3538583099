"""From a photo to its landmarks and crop, one step at a time, with the floor of each."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from benchmarks.timing import Call, Stage
from inversefacenet.camera import CROP_SIZE
from inversefacenet.crop import FaceCrop, crop_face
from inversefacenet.dlib_models import DlibModels, import_dlib
from inversefacenet.image import decode_photo
from inversefacenet.landmarks import Face, FaceDetector
from inversefacenet.metrics import Quality, measure
from inversefacenet.parameters import Parameters
from inversefacenet.reconstruction import Reconstructor
from inversefacenet.rendering import Rendering, render

JUDGED_SIDE: Final = 84
"""Side of what the floor of detection searches: dlib's detector sees faces of 80 pixels and more."""

_JPEG_QUALITY: Final = 92


@dataclass(frozen=True)
class Example:
    """A photo, and what the pipeline makes of it on the way to a reconstruction of its largest face."""

    content: bytes
    image: UInt8[np.ndarray, "height width 3"]
    face: Face
    crop: FaceCrop
    parameters: Parameters
    rendering: Rendering
    quality: Quality


def prepare(content: bytes, reconstructor: Reconstructor) -> Example:
    """Run the pipeline once.

    Raises:
        InverseFaceNetError: If the photo can't be read or shows no face.
    """
    image = decode_photo(content)
    (result,) = reconstructor.reconstruct(image)
    return Example(
        content, image, result.face, result.crop, result.parameters, result.rendering, result.quality
    )


def resized_jpeg(image: UInt8[np.ndarray, "height width 3"], side: int) -> bytes:
    """Return the photo scaled to a square, as a camera would store it."""
    buffer = io.BytesIO()
    picture = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def photo_call(example: Example, reconstructor: Reconstructor) -> Call:
    """Return the whole way from a photo's bytes to parameters and quality."""
    return lambda: reconstructor.reconstruct(decode_photo(example.content))


def photo_steps(example: Example, reconstructor: Reconstructor, detector: FaceDetector) -> dict[str, Call]:
    """Return the steps that `photo_call` consists of, each with its input at hand."""
    model, backend = reconstructor.model, reconstructor.backend
    batch = example.crop.image[None]
    return {
        "decode": lambda: decode_photo(example.content),
        "detect": search_call(example, detector),
        "predict": lambda: detector.landmarks_only(example.image, example.face.box),
        "crop": lambda: crop_face(example.image, example.face.landmarks),
        "forward": lambda: backend.infer(batch),
        "render": lambda: render(model, example.parameters),
        "measure": lambda: measure(example.crop, example.rendering),
    }


def search_call(example: Example, detector: FaceDetector) -> Call:
    """Return the search for boxes, without the landmarks that `FaceDetector.detect` goes on to."""
    return lambda: detector.search(example.image, faces="largest")


def front_stages(example: Example, steps: dict[str, Call]) -> list[Stage]:
    """Return decoding, detection, landmarks and crop beside their floors.

    Raises:
        MissingDependencyError: If dlib or its weights aren't installed.
    """
    source = Image.open(io.BytesIO(example.content)).format
    return [
        Stage("decode", steps["decode"], {f"Pillow's {source} decoder": decoder_floor(example.content)}),
        Stage("detect", steps["detect"], detector_floors(example.image)),
        Stage("predict", steps["predict"], {"dlib's predictor once": predictor_floor(example)}),
        Stage("crop", steps["crop"], {"Pillow's resize": resize_floor(example)}),
    ]


def decoder_floor(content: bytes) -> Call:
    """Return the decoder alone: no checks, no orientation, no array."""

    def decode() -> None:
        Image.open(io.BytesIO(content)).load()

    return decode


def detector_floors(image: UInt8[np.ndarray, "height width 3"]) -> dict[str, Call]:
    """Return dlib's HOG detector alone, on as few pixels as it can judge one face by."""
    detect = DlibModels().frontal()
    patch = np.asarray(Image.fromarray(image).resize((JUDGED_SIDE, JUDGED_SIDE)))
    return {f"dlib's HOG on {JUDGED_SIDE}x{JUDGED_SIDE}": lambda: detect(patch, 0)}


def predictor_floor(example: Example) -> Call:
    """Return dlib's predictor alone, run once on the photo."""
    predict = DlibModels().predictor().predict
    box = import_dlib().rectangle(*(round(edge) for edge in example.face.box))
    return lambda: predict(example.image, box)


def resize_floor(example: Example) -> Call:
    """Return Pillow's antialiased resize of the face's square to the crop: no mask, nothing cut out."""
    corners = np.array([[0.0, 0.0], [CROP_SIZE, CROP_SIZE]])
    corners = example.crop.placement.inverse().apply(corners)
    height, width = example.image.shape[:2]
    box = tuple(np.clip(corners, 0, [width, height]).ravel().tolist())
    source = Image.fromarray(example.image)
    return lambda: source.resize((CROP_SIZE, CROP_SIZE), Image.Resampling.BILINEAR, box=box)

"""Photo bytes to RGB arrays and back.

Whatever a camera, phone or browser calls a photo becomes one thing: ``uint8 [height, width, 3]``, upright,
sRGB. Formats: JPEG (with the multi-picture files of phones), PNG, WebP, AVIF (where Pillow has it), GIF,
TIFF, BMP, PPM. No other decoder of Pillow is ever reached, whatever the bytes claim to be.

Choices:
    * The EXIF orientation is applied, so that row 0 is the top of the scene.
    * 16-bit channels are scaled to 8 bits over their full range, not clipped. 32-bit and floating-point
      greyscale has no declared range: the smallest of 1 (floats alone), 255, 65535 and 2**32 - 1 that holds
      the brightest pixel counts as white.
    * Transparent pixels show white behind them. The colour stored under full transparency is arbitrary,
      often black, and would put a hard false edge along a cut-out face; white is what viewers show.
    * Of animations and multi-page files the first frame is read.
    * Embedded colour profiles are ignored: values count as sRGB. CMYK is converted without a profile.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Num, UInt8
from PIL import Image, features

from inversefacenet.errors import (
    EmptyImageError,
    ImageError,
    ImageTooLargeError,
    TruncatedImageError,
    UnsupportedImageError,
)

MAX_BYTES = 32 * 1024 * 1024
"""Default limit on the encoded size of a photo."""

MAX_PIXELS = 64_000_000
"""Default limit on width x height. Beyond 178 million Pillow refuses on its own, whatever the limit."""

_READABLE = "JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP or PPM"
_ALWAYS = ("JPEG", "PNG", "GIF", "TIFF", "BMP", "PPM")
_OPTIONAL = (("webp", "WEBP"), ("avif", "AVIF"))
_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_ORIENTATION_TAG = 0x0112
_STRIP_PIXELS = 64_000  # a strip's copies stay in the processor's cache
_REDUCTIONS = (8, 4, 2)  # that JPEG's 8 x 8 blocks can be decoded to, the cheapest first

_quiet_lock = threading.Lock()


@contextlib.contextmanager
def _pillow_quiet() -> Iterator[None]:
    """Keep Pillow's remarks on odd metadata off stderr.

    Python's warning filters are process-wide. The lock keeps our own threads from interleaving; should
    another library's ``catch_warnings`` interleave, no more than this narrow filter can outlive the block.
    """
    with _quiet_lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def decode_photo(
    data: bytes | bytearray | memoryview,
    *,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    enough: int | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """Decode a photo into an upright RGB array.

    Both limits are checked before a pixel is decoded: the bytes first, then the size that the header
    declares. Safe to call from several threads; no setting of Pillow is changed.

    Args:
        data: The encoded file.
        max_bytes: Limit on ``len(data)``.
        max_pixels: Limit on width x height.
        enough: So many pixels of the shorter side will do. A JPEG is then decoded at a half, a quarter or an
            eighth, the least of these that has as many, in a third of the time; others are not changed.

    Returns:
        The photo, 8-bit sRGB, contiguous and writable.

    Raises:
        EmptyImageError: There are no bytes.
        ImageTooLargeError: A limit is exceeded.
        UnsupportedImageError: Not an image, or of a format that is not read here.
        TruncatedImageError: The image starts well but ends early or is damaged.
    """
    size = memoryview(data).nbytes
    if size == 0:
        raise EmptyImageError("The image is empty (0 bytes); send the bytes of a photo.")
    if size > max_bytes:
        raise ImageTooLargeError(
            f"The image has {size:,} bytes, more than the limit of {max_bytes:,}; send a smaller file."
        )
    with _open(data) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageTooLargeError(
                f"The image has {width} x {height} = {width * height:,} pixels, more than the limit of "
                f"{max_pixels:,}; scale it down."
            )
        if enough is not None:
            _reduce(image, enough)
        try:
            # TIFF alone parses metadata while loading pixels.
            with _pillow_quiet() if image.format == "TIFF" else contextlib.nullcontext():
                image.load()
        except MemoryError:
            raise
        except Exception as error:  # OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
            raise TruncatedImageError(
                f"The {image.format} image is incomplete or damaged; save or transfer it again."
            ) from error
        # After loading: PNG may carry EXIF behind its pixels, TIFF has by then been turned by Pillow itself.
        orientation = _orientation(image)
        pixels = _to_rgb(image)
    del image  # its memory goes before the pixels are turned, which takes theirs once more
    return _upright(pixels, orientation)


def load_photo(
    path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "height width 3"]:
    """Read and decode a photo from a file; see `decode_photo`.

    Args:
        path: The file.
        max_bytes: Limit on the file's size, checked before it is read.
        max_pixels: Limit on width x height.

    Returns:
        The photo, 8-bit sRGB.

    Raises:
        ImageError: As `decode_photo`, or the file can't be read; the message starts with the path.
    """
    path = Path(path)
    try:
        # One byte more than allowed is enough to know; it also bounds what a pipe or device can feed us.
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
            size = max(len(data), os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise ImageError(f"{path}: can't be read: {error.strerror or error}.") from error
    try:
        if size > max_bytes:
            raise ImageTooLargeError(
                f"The file has {size:,} bytes, more than the limit of {max_bytes:,}; use a smaller file."
            )
        return decode_photo(data, max_bytes=max_bytes, max_pixels=max_pixels)
    except ImageError as error:
        raise type(error)(f"{path}: {error}") from error


def encode_png(image: UInt8[np.ndarray, "height width *channels"]) -> bytes:
    """Encode an image as PNG.

    Args:
        image: 8-bit greyscale ``[height, width]``, RGB ``[.., 3]`` or RGBA ``[.., 4]``.

    Returns:
        The file's bytes; the same for the same image.

    Raises:
        ImageError: Another shape or type.
    """
    buffer = io.BytesIO()
    # Level 3 takes a third of the default level's time for files some 5% larger.
    _to_pillow(image, (1, 3, 4)).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def encode_jpeg(image: UInt8[np.ndarray, "height width *channels"], quality: int = 92) -> bytes:
    """Encode an image as JPEG.

    Args:
        image: 8-bit greyscale ``[height, width]`` or RGB ``[.., 3]``.
        quality: 1 to 95, as libjpeg counts.

    Returns:
        The file's bytes.

    Raises:
        ImageError: Another shape or type.
    """
    buffer = io.BytesIO()
    _to_pillow(image, (1, 3)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _open(data: bytes | bytearray | memoryview) -> Image.Image:
    """Read the header; no pixel is decoded."""
    formats = [*_ALWAYS, *(name for feature, name in _OPTIONAL if features.check(feature))]
    try:
        with _pillow_quiet():
            return Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError("The image declares far too many pixels; scale it down.") from error
    except MemoryError:
        raise
    except Exception as error:  # UnidentifiedImageError, or a decoder's own complaint about a header
        raise _unidentified(bytes(memoryview(data)[:16])) from error


def _reduce(image: Image.Image, enough: int) -> None:
    """Let the JPEG decoder leave out high frequencies, down to a shorter side of `enough` pixels."""
    shorter = min(image.size)
    parts = next((parts for parts in _REDUCTIONS if shorter // parts >= enough), 1)
    if image.format in ("JPEG", "MPO") and parts > 1:
        image.draft(None, (image.width // parts, image.height // parts))


def _unidentified(head: bytes) -> ImageError:
    """Say why no decoder took the bytes."""
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return TruncatedImageError(f"The {name} image's header is incomplete or damaged; save it again.")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return TruncatedImageError("The WebP image is incomplete or damaged; save or transfer it again.")
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        return UnsupportedImageError(
            "HEIC/HEIF photos are not read; convert to JPEG (on an iPhone: Settings, Camera, Formats, "
            "Most Compatible)."
        )
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return UnsupportedImageError("The AVIF image is damaged or can't be read here; convert it to JPEG.")
    return UnsupportedImageError(f"This is not an image of a format that is read; send {_READABLE}.")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it can't be read."""
    try:
        with _pillow_quiet():
            value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged metadata must not cost the photo
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(
    pixels: UInt8[np.ndarray, "rows columns 3"], orientation: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Undo an EXIF orientation."""
    if orientation in (2, 7):  # mirrored left to right
        pixels = pixels[:, ::-1]
    elif orientation in (4, 5):  # mirrored top to bottom
        pixels = pixels[::-1]
    quarter_turns = {3: 2, 5: 3, 6: 3, 7: 3, 8: 1}.get(orientation, 0)  # counter-clockwise
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns))


def _to_rgb(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    """Pixels of any Pillow mode as 8-bit RGB, transparency over white.

    They are converted a strip at a time: as a whole each step would take the photo's memory once more.
    """
    white = _white(image) if image.mode in ("I", "F") else 0.0
    transparent = image.has_transparency_data
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top, strip in _strips(image):
        rows = pixels[top : top + strip.height]
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            rows[:] = _scale_to_8_bits(np.asarray(strip), white)[..., None]
            continue
        if transparent:
            strip = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, (255, 255, 255, 255)), strip)
        rows[:] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return pixels


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Cut an image into strips of whole rows; with each comes its first row."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _white(image: Image.Image) -> float:
    """The value of white in 32-bit or floating-point greyscale: the smallest usual one that holds all."""
    brightest = max(float(_finite(np.asarray(strip)).max(initial=0.0)) for _, strip in _strips(image))
    whites = (1.0, 255.0, 65535.0, 2.0**32 - 1) if image.mode == "F" else (255.0, 65535.0, 2.0**32 - 1)
    return next((w for w in whites if brightest <= w), brightest)


def _finite(values: Num[np.ndarray, "height width"]) -> Float64[np.ndarray, "height width"]:
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _scale_to_8_bits(
    values: Num[np.ndarray, "height width"], white: float
) -> UInt8[np.ndarray, "height width"]:
    """Greyscale of more than 8 bits, scaled so that its white is 255; that of 16 bits is 65535."""
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        # In 32-bit integers, exactly: (v * 255 + half) // 65535 fits below 2**24 * 2.
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return np.clip(np.rint(_finite(values) * (255.0 / white)), 0, 255).astype(np.uint8)


def _to_pillow(image: UInt8[np.ndarray, "height width *channels"], channels: tuple[int, ...]) -> Image.Image:
    """An array as a Pillow image, or an error that says what came."""
    count = 1 if image.ndim == 2 else image.shape[-1]
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or count not in channels or 0 in image.shape:
        raise ImageError(
            f"Can't encode an array of type {image.dtype} and shape {list(image.shape)}; expected uint8 "
            f"[height, width] or [height, width, n] with n in {channels}."
        )
    if image.ndim == 3 and count == 1:
        image = image[..., 0]
    return Image.fromarray(np.ascontiguousarray(image))

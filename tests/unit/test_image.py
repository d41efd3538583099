"""Every kind of file that users send, and those that attackers send."""

import io
import struct
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, features

import inversefacenet.image as image_module
from inversefacenet.errors import (
    EmptyImageError,
    ImageError,
    ImageTooLargeError,
    TruncatedImageError,
    UnsupportedImageError,
)
from inversefacenet.image import decode_photo, encode_jpeg, encode_png, load_photo

ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.png"
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A real photo, wider than high so that a missed turn shows."""
    with Image.open(ASTRONAUT) as image:
        return np.array(image.convert("RGB").crop((100, 20, 340, 180)))


def encode(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG by hand: Pillow writes neither 16-bit RGB nor headers that lie."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png16(values: np.ndarray) -> bytes:
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(width, height, 16, {2: 0, 3: 2}[values.ndim], rows)


def grey_ramp() -> np.ndarray:
    return np.linspace(0, 1, 256 * 4).reshape(4, 256)


def assert_grey(image: np.ndarray, expected: np.ndarray, tolerance: float = 1) -> None:
    assert image.dtype == np.uint8
    assert image.shape == (*expected.shape, 3)
    assert (image == image[..., :1]).all()
    np.testing.assert_allclose(image[..., 0], expected, atol=tolerance)


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PPM", {})]
    + ([("WEBP", {"lossless": True})] if features.check("webp") else []),
)
def test_lossless_formats_are_exact(photo: np.ndarray, kind: str, options: dict[str, object]) -> None:
    decoded = decode_photo(encode(photo, kind, **options))
    np.testing.assert_array_equal(decoded, photo)
    assert decoded.flags.writeable
    assert decoded.flags.c_contiguous


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {"quality": 90}), ("JPEG", {"progressive": True}), ("MPO", {})]
    + ([("WEBP", {"quality": 90})] if features.check("webp") else [])
    + ([("AVIF", {"quality": 90})] if features.check("avif") else []),
)
def test_lossy_formats_are_close(photo: np.ndarray, kind: str, options: dict[str, object]) -> None:
    assert mean_difference(decode_photo(encode(photo, kind, **options)), photo) < 6


def test_multi_picture_file_of_a_phone_gives_its_first_picture(photo: np.ndarray) -> None:
    other = Image.new("RGB", (60, 40), (0, 255, 0))
    data = encode(photo, "MPO", save_all=True, append_images=[other])
    assert mean_difference(decode_photo(data), photo) < 6


def test_forty_megapixels() -> None:
    with Image.open(ASTRONAUT) as image:
        portrait = image.convert("RGB").resize((2048, 2048))
    canvas = Image.new("RGB", (7304, 5478), (70, 90, 110))
    canvas.paste(portrait, (3000, 2000))
    decoded = decode_photo(encode(canvas, "JPEG", quality=85))
    assert decoded.shape == (5478, 7304, 3)
    assert mean_difference(decoded[2000:4048:16, 3000:5048:16], np.asarray(portrait)[::16, ::16]) < 8
    assert mean_difference(decoded[:100, :100], np.full((100, 100, 3), (70, 90, 110), np.uint8)) < 3


STORED_AS = {  # what a camera stores of an upright photo, by orientation
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),  # shown turned clockwise, so stored turned counter-clockwise
    7: lambda upright: np.rot90(upright, 2).transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(photo: np.ndarray, orientation: int, kind: str) -> None:
    stored = np.ascontiguousarray(STORED_AS[orientation](photo))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"exif": exif} if kind == "PNG" else {"tiffinfo": {ORIENTATION: orientation}}
    np.testing.assert_array_equal(decode_photo(encode(stored, kind, **options)), photo)


def test_phone_jpeg_on_its_side(photo: np.ndarray) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encode(np.ascontiguousarray(np.rot90(photo, 1)), "JPEG", exif=exif)
    assert mean_difference(decode_photo(data), photo) < 6


@pytest.mark.parametrize("value", [0, 9, 77])
def test_orientations_that_do_not_exist_are_ignored(photo: np.ndarray, value: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    np.testing.assert_array_equal(decode_photo(encode(photo, "PNG", exif=exif)), photo)


def test_damaged_exif_costs_neither_the_photo_nor_a_warning(photo: np.ndarray) -> None:
    tail = b"\x7f\x01\x12\x00\x03\xff\xff\xff\xff\x00\x06"
    for exif in (
        b"Exif\0\0garbage",
        b"Exif\0\0MM\0*\0\0\0\x08" + tail,
        b"Exif\0\0II*\0\x08\0\0\0" + tail * 5,
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            decoded = decode_photo(encode(photo, "JPEG", exif=exif))
        assert decoded.shape == photo.shape


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    ramp = grey_ramp()
    values = np.rint(ramp * 65535).astype(np.uint16)
    expected = ramp * 255
    assert_grey(decode_photo(png16(values)), expected)
    assert_grey(decode_photo(encode(values, "TIFF")), expected)
    big_endian = Image.frombytes("I;16B", (256, 4), values.astype(">u2").tobytes())
    assert_grey(decode_photo(encode(big_endian, "TIFF")), expected)


def test_16_bit_white_is_white_and_black_black() -> None:
    values = np.array([[0, 128, 129, 65406, 65407, 65535]], np.uint16)
    assert decode_photo(png16(values))[0, :, 0].tolist() == [0, 0, 1, 254, 255, 255]


def test_16_bit_rgb_is_scaled() -> None:
    values = np.zeros((2, 256, 3), np.uint16)
    values[..., 0] = np.arange(256) * 257
    values[..., 1] = 65535
    decoded = decode_photo(png16(values))
    assert decoded[0, :, 0].tolist() == list(range(256))
    assert (decoded[..., 1] == 255).all()
    assert (decoded[..., 2] == 0).all()


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floating_point_grey(white: float) -> None:
    values = (grey_ramp() * white).astype(np.float32)
    assert_grey(decode_photo(encode(values, "TIFF")), grey_ramp() * 255)


@pytest.mark.parametrize("white", [255, 65535])
def test_32_bit_grey(white: int) -> None:
    values = np.rint(grey_ramp() * white).astype(np.int32)
    assert_grey(decode_photo(encode(values, "TIFF")), grey_ramp() * 255)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_deep_grey_takes_little_more_memory_than_the_photo(mode: str) -> None:
    data = encode(Image.new(mode, (3000, 3000), 255), "TIFF", compression="tiff_deflate")
    tracemalloc.start()
    try:
        decoded = decode_photo(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (decoded == 255).all()
    assert peak < 4 * decoded.nbytes


@pytest.mark.parametrize("brightest_row", [0, 39])
@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_one_white_for_all_strips(kind: type, brightest_row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_module, "_STRIP_PIXELS", 3 * 50, raising=False)
    values = np.full((40, 50), 100, kind)
    values[brightest_row] = 65535
    decoded = decode_photo(encode(values, "TIFF"))
    assert (decoded[brightest_row] == 255).all()
    assert (np.delete(decoded, brightest_row, axis=0) == 0).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L", "1", "CMYK", "I;16", "I;16B", "I", "F"])
def test_strips_make_no_difference(photo: np.ndarray, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if mode.startswith("I;16"):
        values = photo[..., 0].astype("<u2" if mode == "I;16" else ">u2") * 257
        image = Image.frombytes(mode, values.shape[::-1], values.tobytes())
    else:
        image = Image.fromarray(photo).convert(mode)
    if "A" in mode:
        image.putalpha(Image.fromarray(photo[..., 1]))
    options = {"transparency": 3} if mode == "P" else {}
    data = encode(image, "TIFF" if mode[0] in "IFC" else "PNG", **options)
    whole = decode_photo(data)
    original, heights = Image.Image.crop, []

    def crop(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
        heights.append(box[3] - box[1])
        return original(image, box)

    monkeypatch.setattr(Image.Image, "crop", crop)
    monkeypatch.setattr(image_module, "_STRIP_PIXELS", 7 * photo.shape[1], raising=False)
    np.testing.assert_array_equal(decode_photo(data), whole)
    assert max(heights) == 7
    assert sum(heights) % photo.shape[0] == 0
    assert whole.std() > 5


def test_values_that_are_no_numbers_are_black() -> None:
    values = np.array([[np.nan, np.inf, -1.0, 0.5, 1.0]], np.float32)
    assert decode_photo(encode(values, "TIFF"))[0, :, 0].tolist() == [0, 0, 0, 128, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"] + (["WEBP"] if features.check("webp") else []))
def test_transparency_shows_white(photo: np.ndarray, kind: str) -> None:
    alpha = np.full(photo.shape[:2], 255, np.uint8)
    alpha[:, :50] = 0
    alpha[:, 50:100] = 128
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode_photo(encode(np.dstack([photo, alpha]), kind, **options))
    assert (decoded[:, :50] == 255).all()
    np.testing.assert_allclose(decoded[:, 50:100], photo[:, 50:100] * (128 / 255) + 127, atol=1.5)
    np.testing.assert_array_equal(decoded[:, 100:], photo[:, 100:])


def test_transparent_palette_and_grey() -> None:
    palette = Image.new("P", (4, 2), 1)
    palette.putpalette([0, 0, 0, 200, 10, 20])
    palette.putpixel((0, 0), 0)
    for data in (encode(palette, "PNG", transparency=0), encode(palette, "GIF", transparency=0)):
        decoded = decode_photo(data)
        assert decoded[0, 0].tolist() == [255, 255, 255]
        assert decoded[1, 3].tolist() == [200, 10, 20]
    grey = np.array([[[0, 0], [100, 255]]], np.uint8)
    assert decode_photo(encode(Image.fromarray(grey, "LA"), "PNG"))[0].tolist() == [[255] * 3, [100] * 3]
    assert decode_photo(encode(palette, "PNG", transparency=b"\x00\xff"))[0, 0].tolist() == [255, 255, 255]


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    for kind in ["GIF", "PNG", "TIFF"] + (["WEBP"] if features.check("webp") else []):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        decoded = decode_photo(data)
        assert decoded.shape == (10, 20, 3)
        assert (decoded == (255, 0, 0)).all(), kind


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr"])
def test_other_colour_modes(photo: np.ndarray, mode: str) -> None:
    image = Image.fromarray(photo).convert(mode)
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    decoded = decode_photo(encode(image, kind))
    assert mean_difference(decoded, np.asarray(image.convert("RGB"))) < 6


def test_lab_and_hsv() -> None:
    assert decode_photo(encode(Image.new("LAB", (4, 4), (255, 128, 128)), "TIFF")).min() >= 250
    assert decode_photo(encode(Image.new("HSV", (4, 4), (0, 255, 255)).convert("RGB"), "BMP"))[0, 0, 0] == 255


@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b"")])
def test_empty(empty: bytes | bytearray | memoryview) -> None:
    with pytest.raises(EmptyImageError):
        decode_photo(empty)


@pytest.mark.parametrize(
    "data",
    [
        b"test\n",
        b"<html><body>404</body></html>",
        b"%PDF-1.7 ...",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"BMW is not a bitmap",
        b"PK\x03\x04" + bytes(60),
        bytes(1000),
        encode(Image.new("RGB", (16, 16)), "ICO"),
        encode(Image.new("RGB", (16, 16)), "TGA"),
        encode(Image.new("RGB", (16, 16)), "PCX"),
    ],
)
def test_what_is_no_photo_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match="JPEG"):
        decode_photo(data)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"heix"])
def test_heic_says_to_convert(brand: bytes) -> None:
    data = struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + brand + b"heic" + bytes(100)
    with pytest.raises(UnsupportedImageError, match=r"HEIC.*convert to JPEG"):
        decode_photo(data)


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "PPM"] + (["WEBP"] if features.check("webp") else [])
)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_truncated(photo: np.ndarray, kind: str, kept: float) -> None:
    data = encode(photo, kind)
    with pytest.raises(TruncatedImageError):
        decode_photo(data[: int(len(data) * kept)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF"])
def test_header_alone_is_truncated_not_unsupported(photo: np.ndarray, kind: str) -> None:
    with pytest.raises(TruncatedImageError):
        decode_photo(encode(photo, kind)[:12])


def test_damaged_header_is_named(photo: np.ndarray) -> None:
    data = bytearray(encode(photo, "PNG"))
    data[8:12] = b"\0\0\0\x20"  # the length of the first chunk
    with pytest.raises(TruncatedImageError, match="PNG"):
        decode_photo(data)


def test_random_damage_raises_only_our_errors(photo: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    small = np.ascontiguousarray(photo[::4, ::4])
    for kind in ["JPEG", "PNG", "GIF", "TIFF", "BMP"] + (["WEBP"] if features.check("webp") else []):
        original = np.frombuffer(encode(small, kind), np.uint8)
        for _ in range(40):
            data = original.copy()
            data[rng.integers(0, len(data), 20)] = rng.integers(0, 256, 20)
            data[rng.integers(0, min(200, len(data)), 2)] = rng.integers(0, 256, 2)
            try:
                decoded = decode_photo(data.tobytes())
            except ImageError:
                continue
            assert decoded.dtype == np.uint8
            assert decoded.ndim == 3


@pytest.mark.parametrize("size", [(10_000, 10_000), (20_000, 20_000), (60_000, 60_000)])
def test_bomb_is_refused_from_its_header(size: tuple[int, int]) -> None:
    # 100 megapixels make Pillow warn, 400 make it refuse; either way the answer is ours, without a warning.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageTooLargeError, match="pixels"):
            decode_photo(png(*size, 8, 2, b"\0" * 1000))


def test_text_bomb_is_refused() -> None:
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    body += chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(20_000_000)))
    body += chunk(b"IDAT", zlib.compress(bytes(4))) + chunk(b"IEND", b"")
    with pytest.raises(ImageError):
        decode_photo(b"\x89PNG\r\n\x1a\n" + body)


def test_limits(photo: np.ndarray) -> None:
    data = encode(photo, "PNG")
    pixels = photo.shape[0] * photo.shape[1]
    assert decode_photo(data, max_bytes=len(data), max_pixels=pixels).shape == photo.shape
    with pytest.raises(ImageTooLargeError, match="bytes"):
        decode_photo(data, max_bytes=len(data) - 1)
    with pytest.raises(ImageTooLargeError, match="240 x 160"):
        decode_photo(data, max_pixels=pixels - 1)


def test_threads_and_globals(photo: np.ndarray) -> None:
    def state() -> tuple[object, ...]:
        return (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, list(warnings.filters))

    before = state()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    files = [encode(photo, "PNG"), encode(photo, "TIFF"), encode(photo, "PNG", exif=exif)]
    expected = [photo, photo, np.rot90(photo, -1)]
    with ThreadPoolExecutor(8) as pool:
        for index, decoded in enumerate(pool.map(decode_photo, files * 20)):
            np.testing.assert_array_equal(decoded, expected[index % 3])
    assert state() == before


def test_load_photo_names_the_path(tmp_path: Path, photo: np.ndarray) -> None:
    good = tmp_path / "good.png"
    good.write_bytes(encode(photo, "PNG"))
    np.testing.assert_array_equal(load_photo(good), photo)
    np.testing.assert_array_equal(load_photo(str(good)), photo)

    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    with pytest.raises(UnsupportedImageError, match=r"text\.jpg: "):
        load_photo(text)
    with pytest.raises(ImageError, match=r"missing\.jpg: can't be read"):
        load_photo(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="can't be read"):
        load_photo(tmp_path)
    with pytest.raises(ImageTooLargeError, match=r"good\.png: .* bytes"):
        load_photo(good, max_bytes=100)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(EmptyImageError, match=r"empty\.jpg: "):
        load_photo(tmp_path / "empty.jpg")


def test_encoders(photo: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_photo(encode_png(photo)), photo)
    assert encode_png(photo) == encode_png(photo.copy())
    assert mean_difference(decode_photo(encode_jpeg(photo)), photo) < 4
    assert len(encode_jpeg(photo, quality=30)) < len(encode_jpeg(photo, quality=95))
    grey = np.ascontiguousarray(photo[..., 0])
    assert_grey(decode_photo(encode_png(grey)), grey, 0)
    assert_grey(decode_photo(encode_png(grey[..., None])), grey, 0)
    with Image.open(io.BytesIO(encode_png(np.dstack([photo, grey])))) as image:
        assert image.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(image)[..., 3], grey)
    np.testing.assert_array_equal(decode_photo(encode_png(photo[::-1, ::2])), photo[::-1, ::2])


def test_encoders_refuse_other_shapes(photo: np.ndarray) -> None:
    for image in (photo[..., :2], photo[:0], np.dstack([photo, photo])):
        with pytest.raises(ImageError, match="shape"):
            encode_png(image)
    with pytest.raises(ImageError, match="shape"):
        encode_jpeg(np.dstack([photo, photo[..., 0]]))


def test_a_large_jpeg_decoded_at_a_part_of_its_size(photo):
    large = np.asarray(Image.fromarray(photo).resize((1920, 1280), Image.Resampling.BICUBIC))
    jpeg = encode(large, "JPEG", quality=95)
    assert decode_photo(jpeg).shape == (1280, 1920, 3)
    assert decode_photo(jpeg, enough=1280).shape == (1280, 1920, 3)
    for enough, parts in ((641, 1), (640, 2), (321, 2), (320, 4), (160, 8), (1, 8)):
        reduced = decode_photo(jpeg, enough=enough)
        assert reduced.shape == (1280 // parts, 1920 // parts, 3)
        boxes = large.reshape(1280 // parts, parts, 1920 // parts, parts, 3).mean(axis=(1, 3))
        assert np.abs(reduced - boxes).mean() < 2.5
    # Others than JPEG have no cheaper way, and keep their size.
    assert decode_photo(encode(large, "PNG"), enough=100).shape == (1280, 1920, 3)


def test_a_part_of_a_turned_jpeg_is_upright(photo):
    large = Image.fromarray(photo).resize((1200, 800), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    whole = decode_photo(encode(large, "JPEG", exif=exif))
    part = decode_photo(encode(large, "JPEG", exif=exif), enough=400)
    assert (whole.shape, part.shape) == ((1200, 800, 3), (600, 400, 3))
    assert np.abs(whole.reshape(600, 2, 400, 2, 3).mean(axis=(1, 3)) - part).mean() < 2.5


def test_limits_count_for_the_whole_photo(photo):
    with pytest.raises(ImageTooLargeError, match="pixels"):
        decode_photo(encode(photo, "JPEG"), max_pixels=1000, enough=1)

"""Damaged files, the same for the same seed: rendered faces in every format, mutated, and handmade traps."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, features

from benchmarks.load.faces import rendered_faces

LARGEST = 7990  # squared, it is just below the limit of pixels


def image_seeds() -> list[tuple[str, bytes]]:
    """Return sound files of faces: each format that is read, in several kinds."""
    faces = list(rendered_faces(4, seed=11))
    pictures = [Image.fromarray(face.photo) for face in faces]
    small = pictures[0].resize((160, 160))
    deep = Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257)
    more = [small.rotate(9), small.rotate(18)]
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [
        ("jpeg", pictures[0], {"format": "JPEG"}),
        ("jpeg-progressive", pictures[1], {"format": "JPEG", "progressive": True}),
        ("jpeg-exif", pictures[2], {"format": "JPEG", "exif": exif}),
        ("jpeg-grey", pictures[3].convert("L"), {"format": "JPEG"}),
        ("jpeg-cmyk", pictures[0].convert("CMYK"), {"format": "JPEG"}),
        ("png", small, {"format": "PNG"}),
        ("png-palette", small.convert("P"), {"format": "PNG"}),
        ("png-alpha", small.convert("RGBA"), {"format": "PNG"}),
        ("png-16", deep, {"format": "PNG"}),
        ("png-exif", small, {"format": "PNG", "exif": exif}),
        ("gif", small, {"format": "GIF"}),
        ("gif-animated", small, {"format": "GIF", "save_all": True, "append_images": more}),
        ("tiff", small, {"format": "TIFF"}),
        ("tiff-lzw", small, {"format": "TIFF", "compression": "tiff_lzw"}),
        ("tiff-deflate", small, {"format": "TIFF", "compression": "tiff_adobe_deflate"}),
        ("tiff-jpeg", small, {"format": "TIFF", "compression": "jpeg"}),
        ("tiff-pages", small, {"format": "TIFF", "save_all": True, "append_images": more}),
        ("bmp", small, {"format": "BMP"}),
        ("bmp-palette", small.convert("P"), {"format": "BMP"}),
        ("ppm", small, {"format": "PPM"}),
        ("pgm", small.convert("L"), {"format": "PPM"}),
    ]
    if features.check("webp"):
        kinds += [
            ("webp", pictures[1], {"format": "WEBP"}),
            ("webp-lossless", small, {"format": "WEBP", "lossless": True}),
            (
                "webp-animated",
                small,
                {"format": "WEBP", "save_all": True, "append_images": more},
            ),
        ]
    if features.check("avif"):
        kinds.append(("avif", small, {"format": "AVIF", "speed": 10}))
    return [(name, encoded(picture, **options)) for name, picture, options in kinds]


def encoded(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    # A copy: Pillow notes on a picture how it was saved last.
    picture.copy().save(buffer, **options)
    return buffer.getvalue()


class Mutator:
    """Damages bytes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def mutate(self, content: bytes, others: list[bytes]) -> tuple[str, bytes]:
        """Return what was done, once or several times over, and its result."""
        names, result = [], content
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            name, change = self.random.choice(self._changes())
            names.append(name)
            result = change(result, others)
        return "+".join(names), result

    def _changes(self):
        return [
            ("bits", self._bits),
            ("bytes", self._bytes),
            ("header", self._header),
            ("header", self._header),
            ("number", self._number),
            ("truncated", self._truncated),
            ("removed", self._removed),
            ("repeated", self._repeated),
            ("inserted", self._inserted),
            ("spliced", self._spliced),
            ("zeros", self._zeros),
        ]

    def _place(self, content: bytes, within: int | None = None) -> int:
        return self.random.randrange(max(1, min(len(content), within or len(content))))

    def _bits(self, content, others):
        result = bytearray(content)
        for _ in range(self.random.choice((1, 3, 10, 100))):
            if result:
                result[self._place(content)] ^= 1 << self.random.randrange(8)
        return bytes(result)

    def _bytes(self, content, others):
        result = bytearray(content)
        for _ in range(self.random.choice((1, 4, 20))):
            if result:
                result[self._place(content)] = self.random.choice((0, 1, 0x7F, 0x80, 0xFF, 0x20))
        return bytes(result)

    def _header(self, content, others):
        """Change the first bytes, where formats keep sizes and offsets."""
        result = bytearray(content)
        for _ in range(self.random.choice((1, 2, 4))):
            if result:
                result[self._place(content, 64)] = self.random.randrange(256)
        return bytes(result)

    def _number(self, content, others):
        """Put a large or odd 32-bit number somewhere, mostly near the begin."""
        within = self.random.choice((40, 200, len(content)))
        number = self.random.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, 65500, 100_000))
        packed = struct.pack(self.random.choice("<>") + "I", number)
        place = self._place(content, within)
        return content[:place] + packed + content[place + 4 :]

    def _truncated(self, content, others):
        return content[: self._place(content, self.random.choice((64, len(content))))]

    def _removed(self, content, others):
        begin = self._place(content)
        return content[:begin] + content[begin + self.random.choice((1, 4, 100, 5000)) :]

    def _repeated(self, content, others):
        begin = self._place(content)
        piece = content[begin : begin + self.random.choice((4, 100, 2000))]
        return content[:begin] + piece * self.random.choice((2, 10)) + content[begin:]

    def _inserted(self, content, others):
        place = self._place(content)
        return content[:place] + self.random.randbytes(self.random.choice((1, 16, 1000))) + content[place:]

    def _spliced(self, content, others):
        other = self.random.choice(others)
        return content[: self._place(content)] + other[self._place(other) :]

    def _zeros(self, content, others):
        begin = self._place(content)
        length = self.random.choice((4, 64, 1000))
        return content[:begin] + bytes(min(length, len(content) - begin)) + content[begin + length :]


def mutated_images(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield damaged files with names that say how they were made; all formats alike."""
    seeds = image_seeds()
    contents = [content for _, content in seeds]
    mutator = Mutator(seed)
    for number in range(count):
        name, content = seeds[number % len(seeds)]
        how, result = mutator.mutate(content, contents)
        yield f"{name}-{how}", result


def traps() -> list[tuple[str, bytes]]:
    """Return files that were made to cost their reader much."""
    return [
        ("png-100000x100000", png(100_000, 100_000, zlib.compress(bytes(10)))),
        ("png-wide", png(2_000_000_000, 1, b"")),
        ("png-no-size", png(0, 0, b"")),
        ("png-just-too-large", png(8001, 8000, zlib.compress(bytes(8_000_000), 9))),
        ("png-short-data", png(LARGEST, LARGEST, zlib.compress(bytes(1000)))),
        ("png-largest", encoded(Image.new("L", (LARGEST, LARGEST), 255), format="PNG")),
        ("png-text-bomb", png(8, 8, zlib.compress(bytes(8 * 25)), chunk(b"zTXt", b"k\0\0" + zeros(80)))),
        (
            "png-itxt-bomb",
            png(8, 8, zlib.compress(bytes(8 * 25)), chunk(b"iTXt", b"k\0\1\0\0\0" + zeros(80))),
        ),
        ("png-profile-bomb", png(8, 8, zlib.compress(bytes(8 * 25)), chunk(b"iCCP", b"k\0\0" + zeros(80)))),
        ("png-exif-loop", png(8, 8, zlib.compress(bytes(8 * 25)), chunk(b"eXIf", tiff_loop()))),
        ("png-data-bomb", png(8, 8, zeros(200))),
        ("gif-huge-canvas", gif(65535, 65535, 1, 1)),
        ("gif-huge-frame", gif(10, 10, 65535, 65535)),
        ("gif-frames", gif(8000, 7000, 1, 1, frames=2000)),
        ("tiff-huge", tiff({256: 100_000, 257: 100_000, 258: 8, 262: 1, 273: 8, 277: 1, 278: 9, 279: 9})),
        ("tiff-counts", tiff({256: 16, 257: 16, 258: 8, 262: 1, 273: 8, 277: 1, 279: 0xFFFFFFFF})),
        ("tiff-samples", tiff({256: 16, 257: 16, 258: 8, 262: 1, 273: 8, 277: 60_000, 279: 256})),
        ("tiff-loop", tiff_loop()),
        ("tiff-far-tag", tiff({256: 16, 257: 16}, far=True)),
        ("webp-16384", webp(16383, 16383)),
        ("webp-empty", b"RIFF\xff\xff\xff\xffWEBPVP8X"),
        ("jpeg-65500", jpeg(65500, 65500)),
        ("jpeg-no-lines", jpeg(0, 500)),
        ("jpeg-many-scans", b"\xff\xd8" + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 5000 + b"\xff\xd9"),
        ("jpeg-many-apps", b"\xff\xd8" + b"\xff\xe1\x00\x08Exif\0\0" * 5000 + b"\xff\xd9"),
        ("bmp-huge", bmp(100_000, 100_000)),
        ("bmp-negative", bmp(-5, -(2**31))),
        ("bmp-wide", bmp(2**31 - 1, 1)),
        ("ppm-huge", b"P6 100000 100000 255\n" + bytes(100)),
        ("ppm-endless", b"P6 " + b"1" * 1_000_000),
        ("ppm-comment", b"P6\n#" + b"x" * 1_000_000),
        ("avif-empty", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf"),
        ("svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'),
        ("eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9999 9999\n(%pipe%id) (r) file\n"),
        ("zip", b"PK\x03\x04" + bytes(100)),
        ("pdf", b"%PDF-1.7\n" + bytes(100)),
        ("empty", b""),
        ("one-byte", b"\xff"),
        ("zeros", bytes(100_000)),
    ]


def zeros(megabytes: int) -> bytes:
    """Return so many compressed megabytes of zeros."""
    return zlib.compress(bytes(megabytes << 20), 9)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, data: bytes, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif(width: int, height: int, frame_width: int, frame_height: int, frames: int = 1) -> bytes:
    frame = b"," + struct.pack("<HHHHB", 0, 0, frame_width, frame_height, 0) + b"\x02\x02\x4c\x01\x00"
    palette = bytes((0, 0, 0, 255, 255, 255))
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + palette + frame * frames + b";"


def tiff(tags: dict[int, int], *, far: bool = False) -> bytes:
    """Return a TIFF of one directory of 32-bit tags; with `far` one of them lies behind the file's end."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    if far:
        entries += struct.pack("<HHII", 273, 4, 1_000_000, 0xFFFFFF00)
    count = len(tags) + far
    return b"II*\0" + struct.pack("<IH", 8, count) + entries + struct.pack("<I", 0) + bytes(64)


def tiff_loop() -> bytes:
    """Return a TIFF whose directory names itself as the next, and as its own EXIF directory."""
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 8)


def webp(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + size
    body = b"WEBP" + extended + b"VP8L" + struct.pack("<I", 8) + b"\x2f" + bytes(7)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg(width: int, height: int) -> bytes:
    table = b"\xff\xdb\x00\x43\x00" + bytes([1]) * 64
    frame = b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + bytes(20)
    return b"\xff\xd8" + table + frame + scan + b"\xff\xd9"


def bmp(width: int, height: int) -> bytes:
    information = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 100, 0, 0, 54) + information + bytes(100)

"""Frames of a video file, and frames into one, by FFmpeg's libraries (PyAV).

Choices:
    * Frames come upright, as players show them: the rotation of phone videos and pixels that aren't square
      are applied. Colours become 8-bit sRGB; a video that doesn't name its colour matrix is taken for BT.709
      from 720 rows on, for BT.601 below. Wide-gamut and HDR colours are clipped, not mapped.
    * Times are the frames' own, so that a variable frame rate is kept; the first frame's is 0.
    * One frame is decoded at a time. Packets that can't be decoded are left out and counted.
    * The file is all that is read: formats that name other files or addresses, as playlists do, are refused.
    * Written videos are H.264 (MPEG-4 where the library lacks it) without sound.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8

from inversefacenet.errors import MissingDependencyError, VideoError
from inversefacenet.image import MAX_PIXELS

READ: Final = "MP4, MOV, MKV, WebM, AVI, MPEG, TS, FLV, WMV or Ogg"
WRITTEN: Final = (".mp4", ".mov", ".mkv")

_DEMUXERS: Final = "mov,mp4,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg"
_OPENING: Final = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "none"}
_CONTAINERS: Final = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_TICKS: Final = 90_000  # of a written video's clock, each second
_USUAL_RATE: Final = 30.0
_HD_ROWS: Final = 720
_UNSPECIFIED: Final = 2
_BT709: Final = 1
_STUDIO_RANGE: Final = 1


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """A frame.

    Attributes:
        image: Upright sRGB.
        seconds: When it is shown; the first one at 0.
        index: Its number, from 0.
    """

    image: UInt8[np.ndarray, "height width 3"]
    seconds: float
    index: int


class Video:
    """An opened video; iterate over it once.

    Attributes:
        name: The file's name, for messages.
        rate: Mean frames a second, as far as the file tells.
        frames: How many there should be; 0 where the file doesn't tell.
        damaged: Packets left out so far because they couldn't be decoded.
    """

    def __init__(self, container: Any, name: str, max_pixels: int) -> None:
        """Take an opened container; see `open_video`."""
        if not container.streams.video:
            raise VideoError(f"{name}: there is no picture in this file, only sound or text.")
        self._container, self._stream = container, container.streams.video[0]
        self.name = name
        self._max_pixels = max_pixels
        self._stream.thread_type = "AUTO"
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.rate = float(rate) if rate else _USUAL_RATE
        duration = self._stream.duration
        seconds = float(duration * self._stream.time_base) if duration else (container.duration or 0) / 1e6
        self.frames = self._stream.frames or round(seconds * self.rate)
        self.damaged = 0
        codec = self._stream.codec_context
        if codec is None:
            raise VideoError(f"{name}: its pictures are coded as nobody here can read; convert it to MP4.")
        self._check_size(codec.width, codec.height)

    def __iter__(self) -> Iterator[VideoFrame]:
        """Decode frame after frame.

        Raises:
            VideoError: If there is none, or one is too large.
        """
        index, last, start = 0, 0.0, math.nan
        for frame in self._decoded():
            due = last + 1 / self.rate if index else 0.0
            if frame.time is not None and math.isnan(start):
                start = frame.time - due
            last = due if frame.time is None else max(last, frame.time - start)
            yield VideoFrame(self._picture(frame), last, index)
            index += 1
        if not index:
            raise VideoError(f"{self.name}: no frame of it can be decoded; the file is damaged or empty.")

    def _decoded(self) -> Iterator[Any]:
        from av.error import FFmpegError

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except FFmpegError:
                self.damaged += 1  # a demultiplexer that has failed gives no more
                continue
            yield from frames

    def _picture(self, frame: Any) -> UInt8[np.ndarray, "height width 3"]:
        self._check_size(frame.width, frame.height)
        untagged = frame.colorspace == _UNSPECIFIED
        matrix = ("ITU709" if frame.height >= _HD_ROWS else "ITU601") if untagged else None
        aspect = self._stream.sample_aspect_ratio or 1
        width = max(round(frame.width * aspect), 1)
        self._check_size(width, frame.height)
        shown = frame.reformat(width=width, format="rgb24", src_colorspace=matrix)
        quarter_turns = round(frame.rotation / 90) % 4  # counter-clockwise
        return np.ascontiguousarray(np.rot90(shown.to_ndarray(), quarter_turns))

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise VideoError(
                f"{self.name}: its frames have {width} x {height} pixels, more than the limit of "
                f"{self._max_pixels:,}; scale it down."
            )


@contextmanager
def open_video(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Iterator[Video]:
    """Open a video file.

    Args:
        path: The file.
        max_pixels: Limit on a frame's width x height.

    Raises:
        VideoError: If it can't be read, is no video, or its frames are too large.
        MissingDependencyError: If PyAV isn't installed.
    """
    path = Path(path)
    with ExitStack() as stack:
        # The file first: whoever mistyped its name needn't install anything to hear of it.
        try:
            file = stack.enter_context(path.open("rb"))
            empty = os.fstat(file.fileno()).st_size == 0
        except OSError as error:
            raise VideoError(f"{path}: can't be read: {error.strerror or error}.") from error
        if empty:
            raise VideoError(f"{path}: the file is empty (0 bytes).")
        av = _import_av()
        try:
            container = stack.enter_context(av.open(file, options=dict(_OPENING)))
        except (av.FFmpegError, ValueError, OSError) as error:
            raise VideoError(f"{path}: this is no video of a format that is read; give {READ}.") from error
        yield Video(container, str(path), max_pixels)


class VideoWriter:
    """Writes frames of one size into a file; see `write_video`."""

    def __init__(self, container: Any, codec: str, rate: float) -> None:
        """Take an opened container."""
        self._container, self._codec = container, codec
        self._rate = rate
        self._stream: Any = None
        self._shape: tuple[int, ...] = ()
        self._last = -1

    def write(self, image: UInt8[np.ndarray, "height width 3"], seconds: float) -> None:
        """Write a frame that is shown at a time, later than the last one's.

        Raises:
            VideoError: If it has another size than the first one, or can't be encoded.
        """
        from av import VideoFrame as Encoded
        from av.error import FFmpegError

        if self._stream is None:
            self._shape = image.shape
            self._stream = self._open(image.shape[1], image.shape[0])
        if image.shape != self._shape:
            raise VideoError("All frames of a video that is written must have one size.")
        even = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
        frame = Encoded.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        self._last = max(self._last + 1, round(seconds * _TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        try:
            self._container.mux(self._stream.encode(frame))
        except FFmpegError as error:
            raise VideoError(f"The video can't be written: {error.strerror}.") from error

    def _open(self, width: int, height: int) -> Any:
        stream = self._container.add_stream(self._codec, rate=Fraction(self._rate).limit_denominator(1001))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.time_base = Fraction(1, _TICKS)
        codec.colorspace, codec.color_primaries, codec.color_trc = _BT709, _BT709, _BT709
        codec.color_range = _STUDIO_RANGE
        if self._codec == "libx264":
            stream.options = {"crf": "18", "preset": "veryfast"}
        else:
            codec.qmin, codec.qmax = 2, 5
        return stream

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())


@contextmanager
def write_video(path: Path, rate: float) -> Iterator[VideoWriter]:
    """Write a video; the file takes its name when it is whole.

    Args:
        path: Ends in one of `WRITTEN`.
        rate: Mean frames a second.

    Raises:
        VideoError: If the name ends otherwise, or the file can't be written.
        MissingDependencyError: If PyAV isn't installed.
    """
    av = _import_av()
    check_video_name(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        try:
            file = part.open("wb")
        except OSError as error:
            raise VideoError(f"{path}: can't be written: {error.strerror or error}.") from error
        with file, av.open(file, "w", format=_CONTAINERS[path.suffix.lower()]) as container:
            writer = VideoWriter(container, _encoder(av), rate)
            yield writer
            writer.finish()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_video_name(path: Path) -> None:
    """Check a video's ending before any work is done for it.

    Raises:
        VideoError: If the name has another ending than `WRITTEN`.
    """
    if path.suffix.lower() not in WRITTEN:
        raise VideoError(f"{path}: videos are written as {', '.join(WRITTEN)}.")


def _encoder(av: ModuleType) -> str:
    return "libx264" if "libx264" in av.codecs_available else "mpeg4"


def _import_av() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("Videos need PyAV, which is not installed", extra="video") from error
    return av

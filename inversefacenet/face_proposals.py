"""Where a photo's faces may be, and of which size: a small network looks at a small picture of the photo.

Convention:
    A proposal's centre and width are continuous photo pixels, its box like that of dlib's frontal detector.
    The network's three maps are for small, medium and large faces. A cell of a map with stride s, in picture
    pixels, holds a logit, the centre less ((column + 0.5) s, (row + 0.5) s) in strides, and the logarithm of
    the width over the map's own. Worked value: with stride 4 and width 15 cell (0, 0) of (9, 0, 0, 0) says
    that a face 15 pixels wide has its centre at (2, 2).

`training.face_proposals` trains the network. What it proposes is for a judge to confirm.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, no_type_check

import numpy as np
from jaxtyping import UInt8

from inversefacenet.compilation import compiled
from inversefacenet.downscale import box_average
from inversefacenet.errors import BackendError
from inversefacenet.face_patch import Box, overlap
from inversefacenet.onnx_session import OnnxSession

NETWORK_FILE: Final = Path(__file__).parent / "assets" / "face_proposals.onnx"

AREA: Final = 16_384
"""Pixels of the picture that the network looks at, about: 128 x 128."""

LEAST_WIDTH: Final = 9.0
"""Narrowest face that the network knows, in pixels of its picture."""

_STEP: Final = 16  # the network's coarsest stride: the picture's sides are multiples
_MOST_SLENDER: Final = 8  # a photo's sides; where one is longer there is no picture
_MOST_PEAKS: Final = 256
_SAME: Final = 0.4  # proposals that share so much of their union are one


@dataclass(frozen=True)
class Proposal:
    """A place where a face may be.

    Attributes:
        x: The box's centre, photo pixels.
        y: The box's centre, photo pixels.
        width: The box's, photo pixels.
        logit: How likely it is a face: the chance's logarithmic odds.
    """

    x: float
    y: float
    width: float
    logit: float

    @property
    def box(self) -> Box:
        """(left, top, right, bottom) in photo pixels."""
        half = self.width / 2
        return (self.x - half, self.y - half, self.x + half, self.y + half)


class FaceProposals:
    """Proposes faces; may be shared between threads.

    Args:
        path: The network's file, by default the one that comes with this package.
    """

    def __init__(self, path: Path = NETWORK_FILE) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._session: OnnxSession | None = None
        self._strides: tuple[int, ...] = ()
        self._widths: tuple[float, ...] = ()

    def load(self) -> None:
        """Load the network, if it isn't yet.

        Raises:
            MissingDependencyError: If ONNX Runtime isn't installed.
            BackendError: If the file can't be read or isn't such a network.
        """
        with self._lock:
            if self._session is not None:
                return
            try:
                content = self._path.read_bytes()
            except OSError as error:
                raise BackendError(
                    f"The network {self._path.name} can't be read: {error.strerror}."
                ) from error
            session = OnnxSession(content, name=self._path.name)
            try:
                self._strides = tuple(int(one) for one in session.metadata["strides"].split(","))
                self._widths = tuple(float(one) for one in session.metadata["widths"].split(","))
            except (KeyError, ValueError) as error:
                raise BackendError(f"The network {self._path.name} proposes no faces.") from error
            if not len(self._strides) == len(self._widths) == len(session.output_names):
                raise BackendError(f"The network {self._path.name} proposes no faces.")
            self._session = session

    def propose(
        self, image: UInt8[np.ndarray, "height width 3"], *, area: float = AREA, least_logit: float = -1.0
    ) -> list[Proposal]:
        """Return a photo's proposals, the likeliest first.

        Args:
            image: 8-bit sRGB photo.
            area: Pixels of the picture that is looked at.
            least_logit: Less likely ones are left out.

        Raises:
            MissingDependencyError: If ONNX Runtime isn't installed.
            BackendError: If the network can't be loaded or fails.
        """
        height, width = image.shape[:2]
        if max(height, width) > _MOST_SLENDER * min(height, width):
            return []
        self.load()
        assert self._session is not None
        rows, columns = picture_shape(height, width, area)
        maps = self._session.run(box_average(image, rows, columns)[None])
        peaks = np.empty((_MOST_PEAKS, 4), np.float32)
        count = 0
        for one, stride, own in zip(maps, self._strides, self._widths, strict=True):
            count = _peaks(one[0], stride, own, least_logit, peaks, count)
        x, y = width / columns, height / rows
        found = [
            Proposal(
                float(peak[0]) * x, float(peak[1]) * y, float(peak[2]) * math.sqrt(x * y), float(peak[3])
            )
            for peak in peaks[:count]
        ]
        return _distinct(found)


def picture_shape(height: int, width: int, area: float = AREA) -> tuple[int, int]:
    """Return rows and columns of the small picture of a photo; a small photo isn't enlarged.

    Worked value: 512 x 512 gives (128, 128), 3000 x 2000 (rows first) (160, 112).
    """
    scale = min(1.0, math.sqrt(area / (height * width)))
    rows, columns = (max(1, round(side * scale / _STEP)) * _STEP for side in (height, width))
    return rows, columns


def _distinct(proposals: list[Proposal]) -> list[Proposal]:
    """Keep the likeliest of those that are one."""
    kept: list[Proposal] = []
    for one in sorted(proposals, key=lambda each: each.logit, reverse=True):
        if all(overlap(one.box, other.box) < _SAME for other in kept):
            kept.append(one)
    return kept


@compiled
@no_type_check
def _peaks(maps: Any, stride: int, own: float, least: float, peaks: Any, count: int) -> int:
    """Add a map's local maxima to `peaks` as (x, y, width, logit) in picture pixels; returns their number."""
    rows, columns = maps.shape[1:]
    for row in range(rows):
        for column in range(columns):
            logit = maps[0, row, column]
            if logit < least or count == peaks.shape[0]:
                continue
            highest = True
            for i in range(max(row - 1, 0), min(row + 2, rows)):
                for j in range(max(column - 1, 0), min(column + 2, columns)):
                    if maps[0, i, j] > logit:
                        highest = False
            if highest:
                peaks[count, 0] = (column + 0.5 + maps[1, row, column]) * stride
                peaks[count, 1] = (row + 0.5 + maps[2, row, column]) * stride
                peaks[count, 2] = own * math.exp(min(max(maps[3, row, column], -3.0), 3.0))
                peaks[count, 3] = logit
                count += 1
    return count

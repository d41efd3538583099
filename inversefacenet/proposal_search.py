"""Search for faces where a network proposes them, judged by dlib's frontal detector on small patches.

Convention:
    Boxes are in continuous photo pixels. A patch is a square of the photo, grey, on which the proposed face
    is 74 pixels wide. Worked value: a face proposed 148 pixels wide about (300, 200) is judged on the 168
    photo pixels about that point, scaled to 84.

The detector says whether there is a face, with which margin, and where. Its windows lie 8 pixels apart: on
the first patch one of them lies about the proposed face, in its size. A second patch, with more room and
windows of two sizes, is asked where the first shows none.
What is proposed and found so are the faces that the first two copies of `inversefacenet.face_search` show:
those from a tenth of the photo's side. Where faces are so small that a third copy would be searched for still
smaller ones, the network looks at a picture three times as large.
"""

from __future__ import annotations

import importlib.util
import math
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import UInt8

from inversefacenet.dlib_models import DlibModels
from inversefacenet.face_patch import overlap
from inversefacenet.face_proposals import AREA, NETWORK_FILE, FaceProposals, Proposal
from inversefacenet.face_search import CLEAR, WINDOW, Found, credible, distinct
from inversefacenet.grey_patch import cut_grey

PATCHES: Final = ((84, 74.0), (104, 76.0))
"""Sides of the patches that are asked in turn, and the proposed face's width on them, in patch pixels."""

MARGIN_SHIFT: Final = 0.3
"""By how much the margin on such a patch is less than in a full search, which has more windows to choose
from: the median over faces that both find. It is added, and both then count from 0."""

_LEAST_LOGIT: Final = -1.5  # of proposals that are asked about
_DOUBT: Final = 0.6  # margin that unlikely proposals need: with a logit of -1 and less; none with 0 and more
_SURE: Final = 0.5  # logit from which a weak confirmation is enough
_TWICE: Final = -0.5  # less likely proposals are asked about on the first patch alone
_BEHIND: Final = 2.0  # a largest face's logit isn't so much below the likeliest proposal's
_OWN: Final = 0.35  # a detection that shares so much of the union with the proposal is of its face
_COARSE_COPY: Final = 200_000.0  # pixels of the first copy of a full search, and of the second
_SECOND_COPY: Final = 600_000.0
_FINE: Final = 3  # times as many pixels for small faces


class ProposalSearch:
    """Searches photos for faces; may be shared between threads.

    Args:
        models: dlib's detectors.
        proposals: What proposes; by default the network of this package.
    """

    def __init__(self, models: DlibModels, proposals: FaceProposals | None = None) -> None:
        self._models = models
        self._proposals = proposals or FaceProposals()
        self.available = importlib.util.find_spec("onnxruntime") is not None and NETWORK_FILE.is_file()

    def load(self) -> None:
        """Load the network, if ONNX Runtime is installed."""
        if self.available:
            self._proposals.load()

    def search(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        *,
        faces: Literal["largest", "all"],
        minimum_size: float,
    ) -> list[Found]:
        """Return the faces that were proposed and confirmed, if one is sure; else none.

        Args:
            image: 8-bit sRGB photo.
            faces: "largest" looks for no other than the largest one.
            minimum_size: Narrower faces, in photo pixels, are left out.
        """
        if not self.available:
            return []
        proposed = self._proposals.propose(image, least_logit=_LEAST_LOGIT)
        found, sure = self._confirmed(image, proposed, faces, minimum_size)
        if faces == "all" and found and _may_hide_smaller(found, image.shape[0] * image.shape[1]):
            finer = self._proposals.propose(image, area=_FINE * AREA, least_logit=_LEAST_LOGIT)
            new = [one for one in finer if all(overlap(one.box, other.box) < 1 / 3 for other in found)]
            smaller, also_sure = self._confirmed(image, new, faces, minimum_size)
            found, sure = credible(distinct(found + smaller)), sure or also_sure
        return found if sure else []

    def _confirmed(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        proposed: list[Proposal],
        faces: Literal["largest", "all"],
        minimum_size: float,
    ) -> tuple[list[Found], bool]:
        """Return the proposals that are confirmed, and whether judge or network is sure of any."""
        found: list[Found] = []
        sure = False
        if faces == "largest" and proposed:
            least = proposed[0].logit - _BEHIND
            proposed = [one for one in proposed if one.logit > least]
        for one in sorted(proposed, key=lambda each: each.width, reverse=True):
            if one.width < 0.9 * minimum_size:
                break
            face = self._judged(image, one)
            if face is None or face.width < minimum_size:
                continue
            found.append(face)
            sure = sure or face.score >= CLEAR or one.logit >= _SURE
            if faces == "largest" and face.score >= CLEAR:
                break  # weaker ones would not stand beside it, nor smaller ones count
        return credible(distinct(found)), sure

    def _judged(self, image: UInt8[np.ndarray, "height width 3"], one: Proposal) -> Found | None:
        """Ask the frontal detector about a proposal."""
        needed = _DOUBT * min(max(-one.logit, 0.0), 1.0)
        for side, width in PATCHES if one.logit > _TWICE else PATCHES[:1]:
            scale = one.width / width
            left, top = one.x - side * scale / 2, one.y - side * scale / 2
            patch = cut_grey(image, left, top, scale, side)
            boxes, scores, _ = self._models.frontal().run(patch, 0, needed - MARGIN_SHIFT)
            # They come by their scores, highest first.
            for box, score in zip(boxes, scores, strict=True):
                edges = _to_photo(box, left, top, scale)
                if overlap(edges, one.box) > _OWN:
                    return Found(edges, float(score) + MARGIN_SHIFT)
        return None


def _to_photo(box: Any, left: float, top: float, scale: float) -> tuple[float, float, float, float]:
    # dlib's rectangles name their last pixel; its far edge is one further.
    return (
        left + box.left() * scale,
        top + box.top() * scale,
        left + (box.right() + 1) * scale,
        top + (box.bottom() + 1) * scale,
    )


def _may_hide_smaller(found: list[Found], pixels: int) -> bool:
    """Say whether a full search would look at its third copy: all faces are less than twice its window."""
    narrowest = min(one.width for one in found)
    if narrowest * math.sqrt(_COARSE_COPY / pixels) > 2 * WINDOW:
        return False
    return narrowest * math.sqrt(_SECOND_COPY / pixels) <= 2 * WINDOW

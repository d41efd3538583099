"""Chooses the form of an answer by the caller's `Accept` (RFC 9110, 12.5.1)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.gateway.errors import NotAcceptableError
from services.gateway.jobs import Form
from services.gateway.schemas import PictureFormat

if TYPE_CHECKING:
    from inversefacenet.export import MeshFormat

_RANGE: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)/([!#$%&'*+.^_`|~0-9A-Za-z-]+)")
_QUALITY: Final = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")
_EXACT: Final = 3


@dataclass(frozen=True)
class Offer:
    """A form that an answer can take.

    Attributes:
        media_type: What callers ask for.
        form: How the worker writes it.
        mesh_format: File format, where the answer is a mesh alone.
        aliases: Other names of the same media type.
        picture_format: File format, where the answer is an edited photo alone.
    """

    media_type: str
    form: Form
    mesh_format: MeshFormat | None = None
    aliases: tuple[str, ...] = ()
    picture_format: PictureFormat | None = None


JSON_OFFER: Final = Offer("application/json", Form.JSON)
MSGPACK_OFFER: Final = Offer(
    "application/msgpack", Form.MSGPACK, aliases=("application/x-msgpack", "application/vnd.msgpack")
)
MULTIPART_OFFER: Final = Offer("multipart/mixed", Form.MULTIPART)
PICTURE_OFFER: Final = Offer("image/png", Form.PICTURE, picture_format="png")
JPEG_OFFER: Final = Offer("image/jpeg", Form.PICTURE, picture_format="jpeg")
MESH_OFFERS: Final = (
    Offer("model/gltf-binary", Form.MESH, "glb"),
    Offer("application/zip", Form.MESH, "obj"),
    Offer("application/ply", Form.MESH, "ply"),
)

ANSWER_OFFERS: Final = (JSON_OFFER, MSGPACK_OFFER, MULTIPART_OFFER)
"""Forms that hold several photos or files."""

RECONSTRUCTION_OFFERS: Final = (*ANSWER_OFFERS, *MESH_OFFERS, PICTURE_OFFER)
RENDERING_OFFERS: Final = (PICTURE_OFFER, *MESH_OFFERS)
EDIT_OFFERS: Final = (PICTURE_OFFER, JPEG_OFFER, JSON_OFFER, MSGPACK_OFFER)


@dataclass(frozen=True)
class _Range:
    """One media range of the header: `type/subtype`, either of them perhaps `*`."""

    kind: str
    subtype: str
    quality: float

    def fit(self, media_type: str) -> int:
        """Return how exactly a media type is meant: 3 by name, 2 `type/*`, 1 `*/*`, 0 not at all."""
        kind, _, subtype = media_type.partition("/")
        if (self.kind, self.subtype) == (kind, subtype):
            return _EXACT
        if (self.kind, self.subtype) == (kind, "*"):
            return 2
        return 1 if (self.kind, self.subtype) == ("*", "*") else 0


def choose(accept: str, offers: Sequence[Offer]) -> tuple[Offer, str]:
    """Return the offer that the caller likes best, and the name that they know it by.

    The highest quality wins; among equals what is named more exactly, then what is offered first. Ranges that
    can't be read are passed over, and a header without a readable one counts as none.

    Args:
        accept: The header's value; empty where there is none.
        offers: What there is; the first is the default.

    Raises:
        NotAcceptableError: If the caller accepts none of it.
    """
    ranges = _parse(accept)
    if not ranges:
        return offers[0], offers[0].media_type
    best: tuple[float, int] = (0.0, 0)
    chosen: tuple[Offer, str] | None = None
    for offer in offers:
        for name in (offer.media_type, *offer.aliases):
            fit, quality = max((one.fit(name), one.quality) for one in ranges)
            # Only the most exact of all ranges that fit has a say; an alias is taken only by its name.
            meant = fit == _EXACT or name == offer.media_type
            if fit and meant and quality and (quality, fit) > best:
                best, chosen = (quality, fit), (offer, name)
    if chosen is None:
        names = ", ".join(offer.media_type for offer in offers)
        raise NotAcceptableError(f"This can't be answered in a form that you accept. Accept one of {names}.")
    return chosen


def _parse(accept: str) -> list[_Range]:
    ranges = []
    for item in accept.split(","):
        name, *parameters = (piece.strip() for piece in item.split(";"))
        match = _RANGE.fullmatch(name.lower())
        quality = _quality(parameters)
        if match and not math.isnan(quality) and not (match[1] == "*" and match[2] != "*"):
            ranges.append(_Range(match[1], match[2], quality))
    return ranges


def _quality(parameters: Sequence[str]) -> float:
    """Return the weight among a range's parameters; NaN if it can't be read."""
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            return float(value) if _QUALITY.fullmatch(value.strip()) else math.nan
    return 1.0

"""The form of an answer by `Accept`: qualities, wildcards, what is no header at all."""

import pytest

from services.gateway.errors import NotAcceptableError
from services.gateway.negotiation import ANSWER_OFFERS, RECONSTRUCTION_OFFERS, RENDERING_OFFERS, choose

JSON = "application/json"
PNG = "image/png"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        ("APPLICATION/JSON; charset=utf-8", JSON),
        ("application/msgpack", "application/msgpack"),
        ("application/x-msgpack", "application/x-msgpack"),
        ("application/vnd.msgpack", "application/vnd.msgpack"),
        ("multipart/*", "multipart/mixed"),
        ("image/*", PNG),
        ("model/gltf-binary", "model/gltf-binary"),
        ("application/zip", "application/zip"),
        ("application/ply", "application/ply"),
        ("application/json;q=0.5, image/png", PNG),
        ("application/json ; q=0.5 , image/png ; Q=0.4", JSON),
        ("text/html, */*;q=0.1", JSON),
        # What is named counts before a wildcard, whose quality is the same.
        ("*/*, image/png", PNG),
        ("application/*, application/ply", "application/ply"),
        # The most exact range has the say, also when it says no.
        ("*/*;q=0.5, application/json;q=0", "application/msgpack"),
        ("application/*, application/json;q=0.1, application/msgpack;q=0", "application/zip"),
        ("image/png;q=0.001", PNG),
        # Ranges that can't be read count for nothing.
        ("image/png;q=high", JSON),
        ("image/png;q=1.5, application/ply;q=0.1", "application/ply"),
        ("*/json", JSON),
        ("nonsense, ;;, /", JSON),
        ("nonsense, image/png", PNG),
    ],
)
def test_reconstructions(accept, expected):
    offer, name = choose(accept, RECONSTRUCTION_OFFERS)
    assert name == expected
    assert name in (offer.media_type, *offer.aliases)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [("", PNG), ("*/*", PNG), ("model/*", "model/gltf-binary"), ("application/*", "application/zip")],
)
def test_renderings_are_pictures_unless_asked_otherwise(accept, expected):
    assert choose(accept, RENDERING_OFFERS)[1] == expected


@pytest.mark.parametrize(
    ("accept", "offers"),
    [
        ("text/html", RECONSTRUCTION_OFFERS),
        ("application/json;q=0", RENDERING_OFFERS),
        ("*/*;q=0", RECONSTRUCTION_OFFERS),
        ("*/*, application/json;q=0, application/*;q=0, multipart/mixed;q=0", ANSWER_OFFERS),
        ("image/png", ANSWER_OFFERS),
    ],
)
def test_what_cannot_be_written_is_said(accept, offers):
    with pytest.raises(NotAcceptableError, match="Accept one of") as caught:
        choose(accept, offers)
    for offer in offers:
        assert offer.media_type in str(caught.value)


def test_the_offers_have_names_of_their_own():
    names = [name for offer in RECONSTRUCTION_OFFERS for name in (offer.media_type, *offer.aliases)]
    assert len(names) == len(set(names))

"""The writer of multipart bodies, against the standard library's reader."""

import email.parser
import email.policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.multipart_form import Piece, write_multipart


def read(body, media_type):
    head = f"Content-Type: {media_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    assert not message.defects
    return list(message.iter_parts())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_any_bytes_come_back(contents):
    parts = read(*write_multipart([Piece(content, "application/octet-stream") for content in contents]))
    assert [part.get_payload(decode=True) for part in parts] == contents
    assert [int(part["Content-Length"]) for part in parts] == [len(content) for content in contents]


@pytest.mark.parametrize("content", [b"\r\n", b"\r", b"\n--", b"--\r\n\r\n--", bytes(range(256)) * 3])
def test_bytes_that_look_like_boundaries(content):
    (part,) = read(*write_multipart([Piece(content, "image/png", "a.png", "a.png")]))
    assert part.get_payload(decode=True) == content
    assert part["Content-ID"] == "<a.png>"
    assert part.get_filename() == "a.png"
    assert part.get_content_type() == "image/png"


def test_a_part_without_a_name():
    (part,) = read(*write_multipart([Piece(b"{}", "application/json")]))
    assert part["Content-ID"] is None
    assert part["Content-Disposition"] is None


def test_boundaries_differ():
    assert write_multipart([])[1] != write_multipart([])[1]

"""What callers may send: options, landmarks, photos; and what they are told when it is wrong."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from services.gateway.landmark_input import landmarks_of
from services.gateway.request_schemas import (
    BatchBody,
    BrokenPhoto,
    PhotoBody,
    PhotoParameters,
    PhotoSource,
)
from services.gateway.schemas import Part

POINTS = [[float(number), 2.0 * number] for number in range(68)]


def read(model, **values):
    return model.model_validate_json(json.dumps(values), strict=True)


def wrong_fields(error):
    return {".".join(map(str, entry["loc"])) for entry in error.value.errors()}


def test_landmarks_of_one_face_or_of_several():
    (face,) = landmarks_of(POINTS)
    assert face.dtype == np.float32
    np.testing.assert_array_equal(face, POINTS)
    assert len(landmarks_of([POINTS, POINTS, POINTS])) == 3


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "text",
        {},
        [],
        [[]],
        POINTS[:67],
        [POINTS, POINTS[:67]],
        [[x, y, 0.0] for x, y in POINTS],
        [[str(x), y] for x, y in POINTS],
        [[True, False]] * 68,
        [[None, 1.0]] * 68,
        [[1e39, 0.0]] * 68,
        [[float("nan"), 0.0]] * 68,
        [[10**400, 0]] * 68,
        [[[1, 2]] * 68] * 2 + [3],
        ["x" * 100_000] + [""] * 1000,
    ],
)
def test_other_landmarks_are_refused(value):
    with pytest.raises(ValueError, match=r"must be 68 points|holds"):
        landmarks_of(value)


def test_texts_of_a_query_or_form():
    options = PhotoParameters.model_validate(
        {"return": ["mesh, overlay", "contours"], "size": "64", "landmarks": json.dumps(POINTS)}
    )
    assert options.parts == [Part.MESH, Part.OVERLAY, Part.CONTOURS]
    assert options.size == 64
    assert len(options.landmarks) == 1
    assert (options.faces, options.input, options.minimum_size) == ("largest", "photo", 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("faces", "some"),
        ("size", "15"),
        ("size", "2049"),
        ("size", "4.5"),
        ("minimum_size", "-1"),
        ("minimum_size", "nan"),
        ("minimum_size", "inf"),
        ("mesh_format", "stl"),
        ("mesh_space", "world"),
        ("mesh_colours", "sepia"),
        ("input", "video"),
        ("return", ["mesh,hologram"]),
        ("landmarks", "[[1, 2]]"),
        ("landmarks", "[" * 100_000),
        ("landmarks", "{"),
    ],
)
def test_texts_that_are_refused(name, value):
    with pytest.raises(ValidationError) as caught:
        PhotoParameters.model_validate({name: value})
    assert all(field.startswith(name) for field in wrong_fields(caught))


def test_a_photo_in_json():
    body = read(PhotoBody, photo={"base64": "AAAA"}, landmarks=POINTS, **{"return": ["mesh"], "crop": True})
    assert body.photo.base64 == "AAAA"
    assert body.parts == [Part.MESH]
    assert body.crop
    np.testing.assert_array_equal(body.landmarks[0], POINTS)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "photo"),
        ({"photo": "AAAA"}, "photo"),
        ({"photo": {}}, "photo"),
        ({"photo": {"base64": "AAAA", "url": "https://example.org"}}, "photo"),
        ({"photo": {"base64": "AAAA", "path": "/etc/passwd"}}, "photo.path"),
        ({"photo": {"base64": "AAAA"}, "size": "64"}, "size"),
        ({"photo": {"base64": "AAAA"}, "return": "mesh"}, "return"),
        ({"photo": {"base64": "AAAA"}, "return": ["mesh"] * 17}, "return"),
        ({"photo": {"base64": "AAAA"}, "face": "all"}, "face"),
        ({"photo": {"base64": "AAAA"}, "landmarks": json.dumps(POINTS)}, "landmarks"),
        ({"photo": {"url": "https://example.org/" + 9000 * "a"}}, "photo.url"),
    ],
)
def test_json_that_is_refused(values, field):
    with pytest.raises(ValidationError) as caught:
        read(PhotoBody, **values)
    assert field in wrong_fields(caught)


def test_a_list_of_more_photos_than_any_service_allows_is_not_read_on():
    with pytest.raises(ValidationError) as caught:
        read(BatchBody, photos=[{}] * 1001)
    assert [entry["type"] for entry in caught.value.errors()] == ["too_long"]


def test_one_broken_photo_leaves_the_others_whole():
    body = read(BatchBody, photos=[{"photo": {"base64": "AAAA"}}, {"photo": 3}, 4], size=64)
    assert [isinstance(photo, BrokenPhoto) for photo in body.photos] == [False, True, True]
    assert body.photos[0].photo == PhotoSource(base64="AAAA")


def test_no_photos_at_all():
    with pytest.raises(ValidationError):
        read(BatchBody, photos=[])

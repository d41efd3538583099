"""Every way to send a photo, and what may be said about it; the library behind is a stand-in."""

import asyncio
import base64
import dataclasses
import io
import json

import numpy as np
import pytest
from gateway_support import (
    FakeReconstructor,
    assert_problem,
    gateway_of,
    mean_landmarks,
    photo_bytes,
    serve,
)
from PIL import Image

from inversefacenet.errors import DeadlineError
from inversefacenet.parameters import Parameters
from services.gateway.errors import FetchError
from services.gateway.schemas import ReconstructionAnswer

URL = "/v1/reconstructions"
PNG = {"Content-Type": "image/png"}


def encoded(content):
    return base64.b64encode(content).decode()


def crop_bytes(colour=(90, 60, 50)):
    """Return a 240x240 picture that is black around its face."""
    pixels = np.zeros((240, 240, 3), np.uint8)
    pixels[40:200, 60:180] = colour
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


class FakeFetcher:
    """Knows one photo's address."""

    def __init__(self):
        self.asked = []
        self.error = None

    async def fetch(self, url, deadline_seconds=None):
        self.asked.append((url, deadline_seconds))
        if self.error is not None:
            raise self.error
        return photo_bytes()

    async def close(self):
        pass


def yaw(response):
    return response.json()["faces"][0]["parameters"]["rotation"][0]


def test_the_same_photo_in_json():
    async def check(client):
        raw = await client.post(URL, content=photo_bytes(), headers=PNG)
        sent = await client.post(URL, json={"photo": {"base64": encoded(photo_bytes())}})
        assert sent.status_code == 200
        assert sent.headers["content-type"] == "application/json"
        assert sent.json()["faces"] == raw.json()["faces"]

    serve(check)


@pytest.mark.parametrize(
    ("photo", "status", "code"),
    [
        ({"base64": ""}, 400, "empty-image"),
        ({"base64": "&&&&"}, 400, "invalid-image"),
        ({"base64": "AAA"}, 400, "invalid-image"),
        ({"base64": "Grüße"}, 400, "invalid-image"),
        ({"base64": encoded(b"no picture at all" * 9)}, 415, "unsupported-image"),
        ({"base64": "AAAA", "url": "https://example.org"}, 422, "invalid-request"),
        ("AAAA", 422, "invalid-request"),
    ],
)
def test_json_without_a_usable_photo(photo, status, code):
    async def check(client):
        assert_problem(await client.post(URL, json={"photo": photo}), status, code)

    serve(check)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"photo": {"base64": "AA', b"[" * 50_000]
)
def test_json_that_cannot_be_read(content):
    async def check(client):
        response = await client.post(URL, content=content, headers={"Content-Type": "application/json"})
        problem = assert_problem(response, 422, "invalid-request")
        assert problem.errors[0].field.startswith("body")

    serve(check)


def test_what_came_is_never_echoed():
    async def check(client):
        secret = "a-secret-of-the-caller"
        body = {"photo": {"base64": secret, "url": secret}, "size": secret, "faces": secret}
        response = await client.post(f"{URL}?faces={secret}", json=body)
        assert_problem(response, 422, "invalid-request")
        assert secret not in response.text
        response = await client.post(URL, json=body)
        problem = assert_problem(response, 422, "invalid-request")
        assert {error.field for error in problem.errors} == {"body.photo", "body.size", "body.faces"}
        assert secret not in response.text

    serve(check)


def test_a_problem_stays_small_whatever_came():
    async def check(client):
        body = {"photo": {"base64": ""}, **{f"{number}{'x' * 10_000}": 1 for number in range(50)}}
        response = await client.post(URL, json=body)
        problem = assert_problem(response, 422, "invalid-request")
        assert len(problem.errors) == 20
        assert len(response.content) < 10_000

    serve(check)


def test_json_of_far_too_many_values_is_not_taken_apart():
    async def check(client):
        content = b'{"photo": [' + b"0," * 300_000 + b"0]}"
        response = await client.post(URL, content=content, headers={"Content-Type": "application/json"})
        assert_problem(response, 413, "body-too-large")

    serve(check)


def test_json_of_far_too_many_members_is_not_taken_apart():
    async def check(client):
        content = ("{" + ",".join(f'"x{number}":0' for number in range(10_001)) + "}").encode()
        response = await client.post(URL, content=content, headers={"Content-Type": "application/json"})
        assert "members" in assert_problem(response, 413, "body-too-large").detail

    serve(check)


def test_very_many_mistakes_are_not_told_one_by_one():
    async def check(client):
        body = {"photo": {"base64": ""}, **{f"x{number}": 0 for number in range(5000)}}
        problem = assert_problem(await client.post(URL, json=body), 422, "invalid-request")
        assert [(error.field, error.message) for error in problem.errors] == [
            ("body", "more than 1000 fields or values are not valid")
        ]

    serve(check)


@pytest.mark.parametrize("charset", ["punycode", "undefined", "idna", "utf-16", "unknown", "latin-1"])
def test_the_texts_of_a_form_are_utf_8_whatever_it_says(charset):
    text = "al\u0142"

    async def check(client):
        def part(value):
            head = '--BBB\r\nContent-Disposition: form-data; name="faces"\r\n\r\n'
            picture = '--BBB\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
            start = (head + value + "\r\n" + picture).encode()
            return start + photo_bytes() + b"\r\n--BBB--\r\n"

        headers = {"Content-Type": f"multipart/form-data; boundary=BBB; charset={charset}"}
        response = await client.post(URL, content=part("all"), headers=headers)
        assert response.status_code == 200, response.text
        assert len(response.json()["faces"]) == 2
        assert_problem(await client.post(URL, content=part(text), headers=headers), 422, "invalid-request")

    serve(check)


@pytest.mark.parametrize(("asked", "used"), [(0, None), (1, 20), (20, 20), (50, 50)])
@pytest.mark.parametrize("way", ["query", "json"])
def test_no_smaller_faces_than_the_service_looks_for(asked, used, way):
    reconstructor = FakeReconstructor()

    async def check(client):
        if way == "query":
            address = f"{URL}?minimum_size={asked}"
            response = await client.post(address, content=photo_bytes(), headers=PNG)
        else:
            body = {"photo": {"base64": encoded(photo_bytes())}, "minimum_size": asked}
            response = await client.post(URL, json=body)
        assert response.status_code == 200, response.text

    serve(check, reconstructor, minimum_face=20)
    assert reconstructor.detector.asked["minimum_size"] == used


def test_options_mean_the_same_in_query_form_and_json():
    options = {"faces": "all", "minimum_size": 40, "mesh_format": "ply", "size": 32}

    async def check(client):
        parts = {"return": "mesh,rendering"}
        form = {"photo": ("a.png", photo_bytes())}
        answers = [
            await client.post(URL, params=options | parts, content=photo_bytes(), headers=PNG),
            await client.post(URL, params=options | parts, files=form),
            await client.post(URL, data=options | parts, files=form),
            await client.post(URL, data=options | {"return": ["mesh", "rendering"]}, files=form),
            await client.post(
                URL,
                json=options | {"photo": {"base64": encoded(photo_bytes())}, "return": ["mesh", "rendering"]},
            ),
        ]
        for response in answers:
            answer = ReconstructionAnswer.model_validate_json(response.content)
            assert [face.mesh.format for face in answer.faces] == ["ply", "ply"]
            assert {face.pictures.rendering.width for face in answer.faces} == {32}
            assert answer.faces == ReconstructionAnswer.model_validate_json(answers[0].content).faces

    reconstructor = FakeReconstructor()
    serve(check, reconstructor)
    assert reconstructor.detector.asked["minimum_size"] == 40


def test_the_body_counts_before_the_query():
    async def check(client):
        form = {"photo": ("a.png", photo_bytes())}
        response = await client.post(f"{URL}?faces=all&size=32", data={"faces": "largest"}, files=form)
        assert len(response.json()["faces"]) == 1
        body = {"photo": {"base64": encoded(photo_bytes())}, "return": ["rendering"]}
        response = await client.post(f"{URL}?faces=all&size=32", json=body)
        faces = response.json()["faces"]
        assert len(faces) == 2
        assert faces[0]["pictures"]["rendering"]["width"] == 32

    serve(check)


@pytest.mark.parametrize(
    ("field", "value"),
    [("face", "all"), ("size", "huge"), ("landmarks", "[]"), ("return", "hologram"), ("crop", "true")],
)
def test_a_wrong_field_of_a_form_is_named(field, value):
    async def check(client):
        form = {"photo": ("a.png", photo_bytes())}
        response = await client.post(URL, data={field: value}, files=form)
        problem = assert_problem(response, 422, "invalid-request")
        assert problem.errors[0].field.startswith(f"body.{field}")

    serve(check)


def test_a_text_in_the_place_of_the_photo_and_a_file_in_another():
    async def check(client):
        response = await client.post(URL, data={"photo": "text"}, files={"x": ("a.png", b"x")})
        assert_problem(response, 400, "invalid-input")
        both = {"photo": ("a.png", photo_bytes()), "other": ("b.png", photo_bytes())}
        assert_problem(await client.post(URL, files=both), 413, "too-many-photos")

    serve(check)


def test_a_form_of_endless_fields_is_refused():
    async def check(client):
        fields = {f"field{number}": "x" for number in range(100)}
        response = await client.post(URL, data=fields, files={"photo": ("a.png", photo_bytes())})
        assert_problem(response, 400, "invalid-input")

    serve(check)


@pytest.mark.parametrize("way", ["query", "form", "json", "json list", "query beside json"])
def test_landmarks_of_the_caller_take_the_detectors_place(way):
    points = mean_landmarks().tolist()
    reconstructor = FakeReconstructor()
    reconstructor.detector.error = AssertionError("the detector was asked")

    async def check(client):
        text = json.dumps(points)
        if way == "query":
            response = await client.post(URL, params={"landmarks": text}, content=photo_bytes(), headers=PNG)
        elif way == "query beside json":
            body = {"photo": {"base64": encoded(photo_bytes())}}
            response = await client.post(URL, params={"landmarks": text}, json=body)
        elif way == "form":
            form = {"photo": ("a.png", photo_bytes())}
            response = await client.post(URL, data={"landmarks": text}, files=form)
        else:
            landmarks = points if way == "json" else [points]
            body = {"photo": {"base64": encoded(photo_bytes())}, "landmarks": landmarks}
            response = await client.post(URL, json=body)
        assert response.status_code == 200, response.text
        (face,) = response.json()["faces"]
        np.testing.assert_array_equal(np.float32(face["landmarks68"]), mean_landmarks())
        assert "score" not in face

    serve(check, reconstructor)


def test_landmarks_of_two_faces():
    points = mean_landmarks().tolist()

    async def check(client):
        body = {"photo": {"base64": encoded(photo_bytes())}, "landmarks": [points, points]}
        assert len((await client.post(URL, json=body)).json()["faces"]) == 2
        body["landmarks"] = [points] * 4
        assert_problem(await client.post(URL, json=body), 422, "invalid-landmarks")

    serve(check, max_faces=3)


@pytest.mark.parametrize("scale", [0.0, 1e6])
def test_landmarks_that_make_no_face(scale):
    points = (mean_landmarks() * scale).tolist()

    async def check(client):
        body = {"photo": {"base64": encoded(photo_bytes())}, "landmarks": points}
        assert_problem(await client.post(URL, json=body), 422, "invalid-landmarks")

    serve(check)


def test_a_crop_needs_no_detector():
    reconstructor = FakeReconstructor()
    reconstructor.detector.error = AssertionError("the detector was asked")

    async def check(client):
        raw = await client.post(f"{URL}?input=crop", content=crop_bytes(), headers=PNG)
        form = await client.post(URL, data={"input": "crop"}, files={"photo": ("a.png", crop_bytes())})
        sent = await client.post(URL, json={"photo": {"base64": encoded(crop_bytes())}, "crop": True})
        other = {"photo": {"base64": encoded(crop_bytes())}}
        beside = await client.post(f"{URL}?input=crop", json=other)
        named = await client.post(URL, json={**other, "input": "crop"})
        batch = await client.post(f"{URL}/batch", json={"photos": [other], "input": "crop"})
        (result,) = batch.json()["results"]
        assert result["reconstruction"]["faces"] == raw.json()["faces"]
        for response in (raw, form, sent, beside, named):
            (face,) = response.json()["faces"]
            assert face["box"] == {"left": 0.0, "top": 0.0, "right": 240.0, "bottom": 240.0}
            assert face["parameters"]["rotation"][0] == pytest.approx(90 / 255)
            assert "landmarks68" not in face
            assert {"nme", "confidence", "verdict"}.isdisjoint(face["quality"])
            assert face["quality"]["photometric"] > 0
        wanted = {"input": "crop", "return": "overlay,contours,rendering,mesh"}
        whole = await client.post(URL, params=wanted, content=crop_bytes(), headers=PNG)
        ReconstructionAnswer.model_validate_json(whole.content)

    serve(check, reconstructor)


def test_crop_and_input_must_agree():
    async def check(client):
        body = {"photo": {"base64": encoded(crop_bytes())}, "crop": True}
        assert (await client.post(URL, json={**body, "input": "crop"})).status_code == 200
        response = await client.post(URL, json={**body, "input": "photo"})
        assert "contradict" in assert_problem(response, 422, "invalid-request").detail

    serve(check)


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("POST", URL, "faces, input, landmarks, mesh_colours"),
        ("POST", f"{URL}/batch", "faces, input, mesh_colours"),
        ("POST", "/v1/renderings", "takes none"),
        ("POST", "/v1/edits", "edits, faces, landmarks, minimum_size, others, picture_format, refine"),
        ("GET", "/v1/edits/options", "takes none"),
        ("GET", "/v1/models", "takes none"),
        ("GET", "/v1/models/inversefacenet", "takes none"),
    ],
)
def test_a_parameter_of_the_query_that_does_not_exist_is_refused(method, path, words):
    async def check(client):
        body = {"json": {"parameters": {}}} if "renderings" in path else {}
        if "reconstructions" in path or path.endswith("/edits"):
            body = {"files": {"photo": ("a.png", photo_bytes())}}
        response = await client.request(method, path, params={"retrun": "a-value"}, **body)
        (error,) = assert_problem(response, 422, "invalid-request").errors
        assert error.field == "query.retrun"
        assert words in error.message
        assert "a-value" not in response.text
        many = {f"x{number}": "" for number in range(100)}
        response = await client.request(method, path, params=many, **body)
        assert len(assert_problem(response, 422, "invalid-request").errors) == 20

    serve(check)


def test_a_member_that_does_not_exist_is_refused_with_those_that_do():
    async def check(client):
        photo = {"base64": encoded(photo_bytes())}
        response = await client.post(URL, json={"photo": {**photo, "name": "a"}, "retrun": ["mesh"]})
        messages = {e.field: e.message for e in assert_problem(response, 422, "invalid-request").errors}
        assert messages["body.photo.name"] == "there is no such member; there are base64, url"
        assert "photo, refine, return, size" in messages["body.retrun"]
        response = await client.post(f"{URL}/batch", json={"photos": [{"photo": {**photo, "x": 1}, "y": 1}]})
        (result,) = response.json()["results"]
        messages = {error["field"]: error["message"] for error in result["problem"]["errors"]}
        assert messages["body.photos.0.photo.x"] == "there is no such member; there are base64, url"
        assert "crop, input, landmarks, name, photo" in messages["body.photos.0.y"]

    serve(check)


def test_the_body_says_before_the_query_what_it_holds():
    points = mean_landmarks().tolist()

    async def check(client):
        body = {"photo": {"base64": encoded(photo_bytes())}, "crop": False}
        assert (await client.post(f"{URL}?input=crop", json=body)).status_code == 200
        body = {"photo": {"base64": encoded(photo_bytes())}, "landmarks": points}
        others = json.dumps([[[x + 1, y] for x, y in points]] * 2)
        (face,) = (await client.post(URL, params={"landmarks": others}, json=body)).json()["faces"]
        np.testing.assert_array_equal(np.float32(face["landmarks68"]), mean_landmarks())

    serve(check)


def test_a_crop_of_another_size_or_without_a_face():
    async def check(client):
        response = await client.post(f"{URL}?input=crop", content=photo_bytes(), headers=PNG)
        assert "240 x 240" in assert_problem(response, 400, "invalid-image").detail
        black = photo_bytes(240, 240, (0, 0, 0))
        response = await client.post(f"{URL}?input=crop", content=black, headers=PNG)
        assert_problem(response, 400, "invalid-image")

    serve(check)


def test_a_photo_lying_on_its_side_is_set_upright():
    async def check(client):
        image = Image.new("RGB", (64, 48), (200, 150, 120))
        exif = image.getexif()
        exif[0x0112] = 6
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", exif=exif)
        response = await client.post(URL, content=buffer.getvalue(), headers={"Content-Type": "image/jpeg"})
        assert response.json()["image"] == {"width": 48, "height": 64}

    serve(check)


def test_no_photo_is_fetched_where_that_is_switched_off():
    async def check(client):
        response = await client.post(URL, json={"photo": {"url": "https://example.org/a.png"}})
        assert "IFN_URL_INPUT" in assert_problem(response, 403, "url-input-disabled").detail

    serve(check)


def test_a_photo_by_its_address():
    fetcher = FakeFetcher()

    async def check(client):
        gateway_of(client).fetcher = fetcher
        raw = await client.post(URL, content=photo_bytes(), headers=PNG)
        body = {"photo": {"url": "https://example.org/a.png"}}
        response = await client.post(URL, json=body, headers={"X-Request-Timeout": "9"})
        assert response.json()["faces"] == raw.json()["faces"]
        ((url, seconds),) = fetcher.asked
        assert url == "https://example.org/a.png"
        assert 8 < seconds <= 9
        fetcher.error = FetchError("The photo's server did not send it.")
        assert_problem(await client.post(URL, json=body), 422, "url-not-fetched")
        fetcher.error = DeadlineError("The request's time ran out.")
        assert_problem(await client.post(URL, json=body), 504, "deadline-exceeded")

    serve(check)


def test_a_packed_body_is_refused():
    async def check(client):
        headers = {**PNG, "Content-Encoding": "gzip"}
        response = await client.post(URL, content=photo_bytes(), headers=headers)
        assert "Content-Encoding" in assert_problem(response, 415, "unsupported-media-type").detail

    serve(check)


def test_the_smallest_faces_beyond_the_limit_are_left_out():
    async def check(client):
        response = await client.post(f"{URL}?faces=all", content=photo_bytes(), headers=PNG)
        answer = response.json()
        assert (len(answer["faces"]), answer["truncated"]) == (1, True)

    serve(check, max_faces=1)


class QuickReconstructor(FakeReconstructor):
    """Draws and measures the first face alone, and lends that to all others."""

    first = None

    def finish(self, found, thetas):
        self.first = self.first or super().finish(found[:1], thetas[:1])[0]
        parameters = [Parameters.from_vector(theta) for theta in thetas]
        return [
            dataclasses.replace(self.first, face=one.face, crop=one.crop, parameters=values)
            for one, values in zip(found, parameters, strict=True)
        ]


def test_two_hundred_photos_in_every_form_keep_their_own_faces():
    async def check(client):
        async def post(number):
            content = photo_bytes(colour=(number + 20, 10, 10))
            if number % 3 == 0:
                return yaw(await client.post(URL, content=content, headers=PNG))
            if number % 3 == 1:
                return yaw(await client.post(URL, files={"photo": ("a.png", content)}))
            return yaw(await client.post(URL, json={"photo": {"base64": encoded(content)}}))

        numbers = np.arange(200)
        yaws = await asyncio.gather(*[post(int(number)) for number in numbers])
        np.testing.assert_allclose(yaws, (numbers + 20) / 255, atol=1e-6)

    serve(check, QuickReconstructor(), workers=4, queue=300, uploads=300)

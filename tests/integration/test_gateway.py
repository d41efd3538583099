"""The HTTP interface: photos in, answers and problems out. The library behind it is a stand-in."""

import asyncio
import base64
import io
import json
import threading

import httpx
import numpy as np
import pytest
import trimesh
from gateway_support import (
    DIGEST,
    FakeReconstructor,
    assert_problem,
    broken_backend_error,
    face_model,
    gateway_of,
    mean_landmarks,
    photo_bytes,
    scope_of,
    serve,
    wait_started,
)
from PIL import Image

from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from services.gateway.schemas import ReconstructionAnswer

URL = "/v1/reconstructions"
PNG = {"Content-Type": "image/png"}


def test_a_form_and_a_raw_body_get_the_same_answer():
    async def check(client):
        form = await client.post(URL, files={"photo": ("me.png", photo_bytes(), "image/png")})
        raw = await client.post(URL, content=photo_bytes(), headers=PNG)
        octets = await client.post(
            URL, content=photo_bytes(), headers={"Content-Type": "application/octet-stream; x=1"}
        )
        answers = [response.json() for response in (form, raw, octets)]
        assert [response.status_code for response in (form, raw, octets)] == [200, 200, 200]
        assert len({answer.pop("id") for answer in answers}) == 3
        for answer in answers:
            assert set(answer.pop("timings_ms")) >= {
                "decode",
                "crop",
                "infer",
                "geometry",
                "render",
                "measure",
            }
        assert answers[0] == answers[1] == answers[2]

    serve(check)


def test_the_answer_has_every_part_by_name():
    async def check(client):
        response = await client.post(URL, content=photo_bytes(), headers=PNG)
        answer = ReconstructionAnswer.model_validate_json(response.content)
        assert answer.model.model_dump() == {
            "name": "inversefacenet",
            "version": "",
            "digest": DIGEST,
            "backend": "fake",
            "face_model": {"name": face_model().name, "digest": face_model().digest},
            "confidence_calibrated": False,
        }
        assert (answer.image.width, answer.image.height) == (64, 48)
        (face,) = answer.faces
        assert face.box.model_dump() == {"left": 8.0, "top": 6.0, "right": 52.0, "bottom": 42.0}
        np.testing.assert_array_equal(np.float32(face.landmarks68), mean_landmarks())
        assert face.parameters.rotation[0] == pytest.approx(200 / 255)
        assert face.parameters.illumination[0] == [0.9, 0.9, 0.9]
        assert 0 < face.quality.iou < 1
        rendering = render(face_model(), Parameters.from_dict(face.parameters.model_dump()))
        placement = face.placement
        axis = placement.crop_scale * np.array(placement.offset) + placement.crop_offset
        np.testing.assert_allclose(axis, rendering.placement.offset, rtol=1e-5)
        assert placement.scale * placement.crop_scale == pytest.approx(rendering.placement.scale)
        assert face.mesh is None
        assert face.pictures is None

    serve(check)


@pytest.mark.parametrize(
    "query",
    ["return=mesh,rendering,overlay,contours", "return=mesh&return=rendering,overlay&return=contours"],
)
def test_mesh_and_pictures_come_when_asked_for(query):
    async def check(client):
        response = await client.post(f"{URL}?{query}", content=photo_bytes(), headers=PNG)
        answer = ReconstructionAnswer.model_validate_json(response.content)
        (face,) = answer.faces
        mesh = trimesh.load(io.BytesIO(base64.b64decode(face.mesh.base64)), file_type="glb", force="mesh")
        assert len(mesh.vertices) == face_model().vertex_count
        for picture, size in (
            (face.pictures.rendering, (480, 480)),
            (answer.overlay, (64, 48)),
            (face.pictures.contours, (480, 480)),
        ):
            decoded = Image.open(io.BytesIO(base64.b64decode(picture.base64)))
            assert decoded.size == (picture.width, picture.height) == size
            assert np.asarray(decoded).std() > 1

    serve(check)


def test_only_what_was_asked_for_is_returned():
    async def check(client):
        response = await client.post(f"{URL}?return=contours", content=photo_bytes(), headers=PNG)
        face = response.json()["faces"][0]
        assert "overlay" not in response.json()
        assert "mesh" not in face
        assert set(face["pictures"]) == {"contours"}

    serve(check)


def test_one_face_or_all():
    async def check(client):
        largest = await client.post(URL, content=photo_bytes(), headers=PNG)
        every = await client.post(f"{URL}?faces=all", content=photo_bytes(), headers=PNG)
        assert [len(response.json()["faces"]) for response in (largest, every)] == [1, 2]

    serve(check)


@pytest.mark.parametrize("query", ["faces=some", "return=mesh,hologram"])
def test_an_unknown_choice_is_named(query):
    async def check(client):
        response = await client.post(f"{URL}?{query}", content=photo_bytes(), headers=PNG)
        problem = assert_problem(response, 422, "invalid-request")
        assert problem.errors[0].field.startswith(f"query.{query.split('=')[0]}")
        assert "Input should be" in problem.detail

    serve(check)


def test_no_face_is_an_error_with_a_code():
    async def check(client):
        response = await client.post(URL, content=photo_bytes(colour=(0, 0, 0)), headers=PNG)
        assert_problem(response, 422, "no-face")

    serve(check)


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "empty-image"),
        (b"hello, I am a text file\n" * 20, 415, "unsupported-image"),
        (photo_bytes(400, 300, form="JPEG")[:700], 400, "truncated-image"),
    ],
)
def test_what_is_no_photo_is_refused(content, status, code):
    async def check(client):
        raw = await client.post(URL, content=content, headers=PNG)
        assert_problem(raw, status, code)
        form = await client.post(URL, files={"photo": ("x.png", content)})
        assert_problem(form, status, code)

    serve(check)


def test_too_many_pixels():
    async def check(client):
        response = await client.post(URL, content=photo_bytes(200, 100), headers=PNG)
        assert_problem(response, 413, "image-too-large")

    serve(check, max_pixels=10_000)


def test_a_declared_length_over_the_limit_is_refused_unread():
    sent = []

    async def body():
        for _ in range(100):
            sent.append(1)
            yield bytes(1000)

    async def check(client):
        headers = {**PNG, "Content-Length": "100000", "Expect": "100-continue"}
        response = await client.post(URL, content=body(), headers=headers)
        assert_problem(response, 413, "body-too-large")
        assert response.headers["connection"] == "close"
        assert not sent

    serve(check, max_body_bytes=2048)


@pytest.mark.parametrize("form", [False, True])
def test_a_body_of_unknown_length_is_refused_when_it_grows_too_long(form):
    head = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n' if form else b""
    answered_after = []

    async def check(client):
        chunks = iter([head + bytes(1500), bytes(1500), *[bytes(1500)] * 50])
        received = []

        async def receive():
            chunk = next(chunks, None)
            if chunk is None:
                return {"type": "http.disconnect"}
            received.append(len(chunk))
            return {"type": "http.request", "body": chunk, "more_body": True}

        async def send(message):
            if message["type"] == "http.response.start":
                answered_after.append((message["status"], len(received)))

        content_type = "multipart/form-data; boundary=x" if form else "image/png"
        headers = {"content-type": content_type, "transfer-encoding": "chunked"}
        await client._transport.app(scope_of(URL, headers), receive, send)

    serve(check, max_body_bytes=2048)
    assert answered_after == [(413, 2)]


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", None])
def test_other_content_types_are_refused(content_type):
    async def check(client):
        headers = {"Content-Type": content_type} if content_type else {}
        response = await client.post(URL, content=photo_bytes(), headers=headers)
        problem = assert_problem(response, 415, "unsupported-media-type")
        assert "'photo'" in problem.detail

    serve(check)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=x", b"no form at all"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="photo"\r\n\r\nhi\r\n--x--',
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\nhi\r\n--x--',
        ),
    ],
)
def test_a_form_without_a_photo_is_refused(content_type, content):
    async def check(client):
        response = await client.post(URL, content=content, headers={"Content-Type": content_type})
        assert_problem(response, 400, "invalid-input")

    serve(check)


def test_two_photos_in_one_form_are_refused():
    async def check(client):
        files = [("photo", ("a.png", photo_bytes())), ("photo", ("b.png", photo_bytes()))]
        problem = assert_problem(await client.post(URL, files=files), 413, "too-many-photos")
        assert f"{URL}/batch" in problem.detail

    serve(check)


def test_a_body_that_never_ends_is_given_up():
    async def body():
        yield b"x"
        await asyncio.sleep(60)

    async def check(client):
        response = await client.post(URL, content=body(), headers=PNG)
        assert_problem(response, 408, "body-timeout")

    serve(check, body_timeout=0.05)


def test_unknown_addresses_and_methods():
    async def check(client):
        assert_problem(await client.get("/v1/nothing"), 404, "not-found")
        response = await client.get(URL)
        assert_problem(response, 405, "method-not-allowed")
        assert response.headers["allow"] == "POST"

    serve(check)


def test_faults_of_the_service_are_told_without_their_inside():
    reconstructor = FakeReconstructor()

    async def check(client):
        reconstructor.detector.error = broken_backend_error()
        response = await client.post(URL, content=photo_bytes(), headers=PNG)
        assert_problem(response, 503, "backend-unavailable")
        assert response.headers["retry-after"] == "1"
        assert "secret" not in response.text
        reconstructor.detector.error = RuntimeError("a secret of the inside")
        response = await client.post(URL, content=photo_bytes(), headers=PNG)
        assert_problem(response, 500, "internal")
        assert "secret" not in response.text
        assert "Traceback" not in response.text
        reconstructor.detector.error = None
        assert (await client.post(URL, content=photo_bytes(), headers=PNG)).status_code == 200

    serve(check, reconstructor)


def test_a_sane_request_id_is_kept_and_any_other_replaced():
    async def check(client):
        kept = await client.get("/healthz", headers={"X-Request-ID": "job-7.a:b_c"})
        assert kept.headers["x-request-id"] == "job-7.a:b_c"
        for strange in ("a b", "x" * 129, 'quote"', ""):
            replaced = await client.get("/healthz", headers={"X-Request-ID": strange})
            assert replaced.headers["x-request-id"] not in ("", strange)
        first, second = [(await client.get("/healthz")).headers["x-request-id"] for _ in range(2)]
        assert first != second

    serve(check)


def test_the_event_loop_answers_while_a_photo_is_worked_on():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(client):
        task = asyncio.create_task(client.post(URL, content=photo_bytes(), headers=PNG))
        await wait_started(reconstructor)
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
        assert not task.done()
        reconstructor.detector.hold.set()
        assert (await task).status_code == 200

    serve(check, reconstructor, probe_interval=300)


def test_a_full_queue_refuses_at_once_and_recovers():
    sent = []

    async def body():
        sent.append(1)
        yield photo_bytes()

    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(client):
        def post():
            return client.post(URL, content=photo_bytes(), headers=PNG)

        tasks = [asyncio.create_task(post())]
        await wait_started(reconstructor)
        tasks.append(asyncio.create_task(post()))
        while gateway_of(client).engine._pool._occupied < 2:
            await asyncio.sleep(0)
        refused = await client.post(URL, content=body(), headers={**PNG, "Expect": "100-continue"})
        assert_problem(refused, 503, "overloaded")
        assert not sent
        assert refused.headers["retry-after"] == "1"
        reconstructor.detector.hold.set()
        assert [response.status_code for response in await asyncio.gather(*tasks)] == [200, 200]
        assert (await post()).status_code == 200

    serve(check, reconstructor, workers=1, queue=1)


def test_numbers_read_back_as_the_float32_they_were():
    async def check(client):
        response = await client.post(URL, content=photo_bytes(colour=(77, 1, 1)), headers=PNG)
        text = json.dumps(response.json()["faces"][0]["parameters"]["rotation"])
        assert np.float32(json.loads(text)[0]) == np.float32(77 / 255)
        assert len(text) < 40

    serve(check)


def test_a_reconstruction_survives_a_caller_who_leaves():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(client):
        task = asyncio.create_task(client.post(URL, content=photo_bytes(), headers=PNG))
        await wait_started(reconstructor)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        reconstructor.detector.hold.set()
        response = await client.post(URL, content=photo_bytes(), headers=PNG)
        assert response.status_code == 200

    serve(check, reconstructor, workers=1, queue=1)


def test_the_documentation_page_asks_no_outside_address():
    async def check(client):
        page = await client.get("/docs")
        assert page.status_code == 200
        assert "://" not in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'self'")
        for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
            assert f"/docs/assets/{name}" in page.text
            assert (await client.get(f"/docs/assets/{name}")).status_code == 200

    serve(check)


def test_the_start_page_leads_on():
    async def check(client: httpx.AsyncClient):
        links = (await client.get("/")).json()
        for name in ("documentation", "ready", "metrics"):
            assert (await client.get(links[name])).status_code == 200
        assert (await client.get("/v2")).json()["name"] == "inversefacenet"

    serve(check)


def test_the_start_page_links_to_the_studio_where_there_is_one():
    async def check(client):
        assert (await client.get("/")).json()["studio"] == "https://studio.example.org/"
        document = (await client.get("/openapi.json")).json()
        assert "(https://studio.example.org/)" in document["info"]["description"]

    serve(check, studio_url="https://studio.example.org/")

    async def check_without(client):
        assert "studio" not in (await client.get("/")).json()
        assert "studio" not in (await client.get("/openapi.json")).json()["info"]["description"]

    serve(check_without)

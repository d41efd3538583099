"""`/v1/edits` and the editing service of gRPC: the photo that comes back, and what is said beside it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from gateway_support import (
    FakeBackend,
    FakeReconstructor,
    assert_problem,
    face_model,
    gateway_of,
    metric,
    photo_bytes,
    serve,
)
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from grpc import StatusCode, aio
from grpc_support import opened
from PIL import Image

from inversefacenet.editing import PhotoEditor, apply_edits, light_names, parse_edits
from inversefacenet.errors import DeadlineError
from inversefacenet.image import decode_photo
from inversefacenet.parameters import Parameters
from inversefacenet.v1 import editing_pb2
from inversefacenet.v1.editing_pb2_grpc import EditingServiceStub
from services.gateway.deadline import Deadline
from services.gateway.edit_answers import answer_edit, unit_in_words
from services.gateway.edit_schemas import EditAnswer
from services.gateway.jobs import EditJob, PhotoJob
from services.gateway.pipeline import Pipeline, model_info

URL = "/v1/edits"
PNG = {"Content-Type": "image/png"}
EDITS = [{"edit": "relight", "direction": [1, 0.5, 1], "ambient": 0.2}, {"edit": "pose", "yaw": 8}]
BLACK = photo_bytes(colour=(0, 0, 0))


def encoded(content):
    return base64.b64encode(content).decode()


def body(edits=EDITS, **members):
    return {"photo": {"base64": encoded(photo_bytes(160, 120))}, "edits": edits, **members}


def pixels(content):
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))


def reconstructed(faces="largest"):
    return FakeReconstructor().reconstruct(decode_photo(photo_bytes(160, 120)), faces)


@pytest.fixture(scope="module")
def expected():
    """What the library makes of the photo."""
    (face,) = reconstructed()
    edits = parse_edits(EDITS, face_model())
    photo = decode_photo(photo_bytes(160, 120))
    return PhotoEditor(photo, face).edit(edits), apply_edits(face_model(), face.parameters, edits)


def test_the_picture_is_the_whole_photo_with_the_edited_face_in_it(expected):
    async def check(client):
        texts = {"edits": json.dumps(EDITS)}
        answers = [
            await client.post(URL, json=body()),
            await client.post(URL, files={"photo": photo_bytes(160, 120)}, data=texts),
            await client.post(URL, content=photo_bytes(160, 120), headers=PNG, params=texts),
        ]
        for answer in answers:
            assert answer.status_code == 200, answer.content[:300]
            assert answer.headers["content-type"] == "image/png"
            assert answer.headers["vary"] == "Accept"
            assert float(answer.headers["x-quality-photometric"]) > 0
            np.testing.assert_array_equal(pixels(answer.content), expected[0])
        assert not np.array_equal(expected[0], decode_photo(photo_bytes(160, 120)))
        jpeg = await client.post(URL, json=body(), headers={"Accept": "image/jpeg"})
        assert jpeg.headers["content-type"] == "image/jpeg"
        with Image.open(io.BytesIO(jpeg.content)) as picture:
            assert (picture.format, picture.size) == ("JPEG", (160, 120))

    serve(check)


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_an_answer_in_json_has_the_numbers_beside_the_picture(form, expected):
    async def check(client):
        sent = body(picture_format=form, refine=0)
        plain = await client.post(URL, json=sent, headers={"Accept": "application/json"})
        packed = await client.post(URL, json=sent, headers={"Accept": "application/msgpack"})
        answer = EditAnswer.model_validate_json(plain.content)
        (face,) = answer.faces
        np.testing.assert_allclose(face.parameters.rotation, expected[1].rotation, atol=1e-6)
        np.testing.assert_allclose(face.reconstructed.rotation[0], 200 / 255, atol=1e-6)
        assert face.quality.photometric > 0
        assert face.quality_before is None
        assert answer.picture.media_type == f"image/{form}"
        picture = pixels(base64.b64decode(answer.picture.base64))
        assert picture.shape == expected[0].shape == (answer.picture.height, answer.picture.width, 3)
        tree = msgpack.unpackb(packed.content)
        np.testing.assert_array_equal(pixels(tree["picture"]["content"]), picture)
        assert answer.timings_ms["edit"] > 0

    serve(check)


def test_a_request_without_edits_is_refused():
    async def check(client):
        sent = [{"json": body([])}, {"files": {"photo": photo_bytes()}}]
        sent.append({"content": photo_bytes(), "headers": PNG})
        for request in sent:
            problem = assert_problem(await client.post(URL, **request), 422, "invalid-edit")
            assert problem.detail.startswith("Nothing is to be changed")

    serve(check)


def test_it_is_refined_before_it_is_edited():
    async def check(client):
        answer = await client.post(URL, json=body(refine=2), headers={"Accept": "application/json"})
        (face,) = answer.json()["faces"]
        assert face["quality"]["photometric"] < face["quality_before"]["photometric"]
        assert answer.json()["timings_ms"]["refine"] > 0

    serve(check)


def test_all_faces_get_the_same_edits():
    async def check(client):
        answer = await client.post(
            URL, json=body([{"edit": "pose", "yaw": 5}], faces="all"), headers={"Accept": "application/json"}
        )
        for face in answer.json()["faces"]:
            turned = face["parameters"]["rotation"][0] - face["reconstructed"]["rotation"][0]
            assert turned == pytest.approx(np.radians(5), abs=1e-5)
        assert len(answer.json()["faces"]) == 2

    serve(check)


def test_other_faces_come_as_photos_or_parameters():
    shape = np.zeros(128)
    shape[0] = 2.0
    mix = [{"edit": "mix", "from": "friend", "shape": 1}]
    json_wanted = {"Accept": "application/json"}

    async def check(client):
        others = {"friend": {"parameters": {"shape": shape.tolist()}}}
        answer = await client.post(URL, json=body(mix, others=others), headers=json_wanted)
        np.testing.assert_allclose(answer.json()["faces"][0]["parameters"]["shape"], shape, atol=1e-6)
        vector = Parameters.neutral().vector()
        vector[3] = 2.0
        others = {"friend": {"parameters": {"vector": vector.tolist()}}}
        again = await client.post(URL, json=body(mix, others=others), headers=json_wanted)
        assert again.json()["faces"] == answer.json()["faces"]

        # The stand-in of the network turns a face by its photo's red.
        turn = [{"edit": "mix", "from": "friend", "pose": 1}]
        other = photo_bytes(80, 60, colour=(51, 150, 120))
        as_json = await client.post(
            URL,
            json=body(turn, others={"friend": {"photo": {"base64": encoded(other)}}}),
            headers=json_wanted,
        )
        as_form = await client.post(
            URL,
            files={"photo": photo_bytes(160, 120), "others.friend": other},
            data={"edits": json.dumps(turn)},
            headers=json_wanted,
        )
        for found in (as_json, as_form):
            (face,) = found.json()["faces"]
            assert face["parameters"]["rotation"][0] == pytest.approx(0.2, abs=1e-5)

    serve(check)


def test_edits_that_there_are_not_are_told_before_anything_is_done():
    wrong = [
        ([{"edit": "relight", "light": "moon"}], [*light_names()]),
        ([{"edit": "expression", "units": {"grin": 1}}], ["jawOpen", "mouthSmileLeft"]),
        ([{"edit": "shave"}], ["relight", "mix"]),
        ([{"edit": "mix", "from": "nobody", "shape": 1}], ["nobody"]),
        ([{"edit": "pose", "yaw": "much"}], ["yaw"]),
        ([{"edit": "neutral"}, {"edit": "skin", "tone": 1e400}], ["tone"]),
        ([{"edit": "identity", "coefficients": {"500": 1}}], ["coefficients"]),
        ([{"edit": "relight", "coefficients": [[1, 2]]}], ["coefficients"]),
    ]

    async def check(client):
        detector = gateway_of(client)._reconstructor.detector
        for edits, words in wrong:
            content = json.dumps(body(edits)).replace("Infinity", "1e400")
            answer = await client.post(URL, content=content, headers={"Content-Type": "application/json"})
            problem = assert_problem(answer, 422, "invalid-edit")
            for word in words:
                assert word in problem.detail, edits
        assert detector.asked == {}

    serve(check)


def test_requests_that_are_wrong_name_the_field():
    other = {"photo": {"base64": encoded(photo_bytes())}}
    wrong = [
        (body(refine=31), "body.refine"),
        (body(picture_format="gif"), "body.picture_format"),
        (body(edits="left"), "body.edits"),
        (body(edits=[1]), "body.edits.0"),
        (body(edits=[{"edit": "neutral"}] * 65), "body.edits"),
        (body(others={str(n): other for n in range(5)}), "body.others"),
        (body(others={"": other}), "body.others"),
        (body(others={"a": {}}), "body.others.a"),
        (body(others={"a": other | {"parameters": {}}}), "body.others.a"),
        (body(others={"a": {"parameters": {}, "filename": "me.jpg"}}), "body.others.a.filename"),
        (body(others={"a": {"photo": {"base64": "", "path": "me.jpg"}}}), "body.others.a"),
        (body(crop=True), "body.crop"),
        ({"edits": EDITS}, "body.photo"),
    ]

    async def check(client):
        for sent, field in wrong:
            (entry, *_) = assert_problem(await client.post(URL, json=sent), 422, "invalid-request").errors
            assert entry.field.startswith(field), entry
        for name, text in (("edits", "left"), ("edits", "{}"), ("edits", "[1]"), ("others", "[]")):
            answer = await client.post(f"{URL}?{name}={text}", content=photo_bytes(), headers=PNG)
            (entry,) = assert_problem(answer, 422, "invalid-request").errors
            assert entry.field == f"query.{name}"
            assert entry.message.startswith("must be JSON: ")
        answer = await client.post(f"{URL}?edit=[]", content=photo_bytes(), headers=PNG)
        (entry,) = assert_problem(answer, 422, "invalid-request").errors
        assert "picture_format" in entry.message

    serve(check)


def test_no_face_is_edited_when_the_time_is_over():
    job = EditJob(PhotoJob(b""), EDITS)
    photo = decode_photo(photo_bytes(160, 120))
    with pytest.raises(DeadlineError):
        answer_edit(
            photo, reconstructed(), {}, job, model_info(FakeBackend(), face_model()), deadline=Deadline(0)
        )


def test_forms_that_are_wrong():
    async def check(client):
        five = [("photo", photo_bytes()), *((f"others.{n}", photo_bytes()) for n in range(5))]
        assert (await client.post(URL, files=five)).status_code == 413
        two = [("photo", photo_bytes()), ("photo", photo_bytes())]
        assert (await client.post(URL, files=two)).status_code == 413
        assert_problem(await client.post(URL, files={"friend": photo_bytes()}), 400, "invalid-input")
        nameless = {"photo": photo_bytes(), "others.": photo_bytes()}
        assert_problem(await client.post(URL, files=nameless), 422, "invalid-request")
        twice = {"photo": photo_bytes(), "others.a": photo_bytes()}
        texts = {"others": json.dumps({"a": {"parameters": {}}})}
        assert_problem(await client.post(URL, files=twice, data=texts), 422, "invalid-request")
        # Where no others are asked for, the form is as strict as ever.
        answer = await client.post("/v1/reconstructions", files={"others.a": photo_bytes()})
        assert_problem(answer, 400, "invalid-input")

    serve(check)


def test_parameters_of_others_that_no_picture_can_be_made_of():
    light = [{"edit": "mix", "from": "friend", "light": 1}]
    sunny = {"illumination": [[1e30] * 3] * 9}
    message = editing_pb2.OtherFace()
    message.parameters.illumination.extend([-1e30] * 27)

    async def check(client):
        answer = await client.post(URL, json=body(light, others={"friend": {"parameters": sunny}}))
        problem = assert_problem(answer, 422, "invalid-parameters")
        assert "illumination" in problem.detail
        vector = [0.0] * 349 + [1e30]
        answer = await client.post(
            URL, json=body(light, others={"friend": {"parameters": {"vector": vector}}})
        )
        assert_problem(answer, 422, "invalid-parameters")

    serve(check)

    async def run():
        async with opened() as service:
            with pytest.raises(aio.AioRpcError) as error:
                await EditingServiceStub(service.channel).Edit(
                    grpc_request(light, others={"friend": message})
                )
            assert error.value.code() is StatusCode.INVALID_ARGUMENT
            assert "illumination" in error.value.details()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_photo_without_a_face_is_named():
    async def check(client):
        asked = {"params": {"edits": json.dumps(EDITS)}}
        assert_problem(await client.post(URL, content=BLACK, headers=PNG, **asked), 422, "no-face")
        files = {"photo": photo_bytes(), "others.friend": BLACK}
        problem = assert_problem(await client.post(URL, files=files, **asked), 422, "no-face")
        assert problem.detail.startswith("The photo of 'friend': ")
        files["others.friend"] = b"words"
        problem = assert_problem(await client.post(URL, files=files, **asked), 415, "unsupported-image")
        assert problem.detail.startswith("The photo of 'friend': ")

    serve(check)


def test_limits_hold_for_all_photos():
    async def check(client):
        files = {"photo": photo_bytes(), "others.friend": photo_bytes(160, 120)}
        asked = {"params": {"edits": json.dumps(EDITS)}}
        assert_problem(await client.post(URL, files=files, **asked), 413, "image-too-large")
        url = body(others={"friend": {"photo": {"url": "https://example.org/face.jpg"}}})
        url["photo"] = {"base64": encoded(photo_bytes())}
        assert_problem(await client.post(URL, json=url), 403, "url-input-disabled")
        url = {"photo": {"url": "https://example.org/face.jpg"}, "edits": EDITS}
        assert_problem(await client.post(URL, json=url), 403, "url-input-disabled")
        answer = await client.post(
            URL, files={"photo": photo_bytes()}, headers={"Accept": "model/gltf-binary"}
        )
        assert_problem(answer, 406, "not-acceptable")

    serve(check, max_pixels=10_000)


def test_photos_are_fetched_where_that_is_allowed(monkeypatch):
    fetched = []

    async def check(client):
        async def fetch(url, seconds):
            fetched.append(url)
            return photo_bytes(160, 120, colour=(51, 150, 120))

        monkeypatch.setattr(gateway_of(client).fetcher, "fetch", fetch)
        turn = [{"edit": "mix", "from": "friend", "pose": 1}]
        sent = body(turn, others={"friend": {"photo": {"url": "https://example.org/friend.jpg"}}})
        answer = await client.post(URL, json=sent, headers={"Accept": "application/json"})
        assert answer.json()["faces"][0]["parameters"]["rotation"][0] == pytest.approx(0.2, abs=1e-5)
        sent = {"photo": {"url": "https://example.org/me.jpg"}, "edits": EDITS}
        assert (await client.post(URL, json=sent)).status_code == 200
        assert fetched == ["https://example.org/friend.jpg", "https://example.org/me.jpg"]

    serve(check, url_input=True)


def test_every_photo_is_charged():
    import hashlib

    keys = {
        "tester": {
            "sha256": hashlib.sha256(b"secret").hexdigest(),
            "photos_per_minute": 1,
            "burst": 3,
        }
    }
    shown = {"Authorization": "Bearer secret"}

    async def check(client):
        files = {"photo": photo_bytes(), "others.friend": photo_bytes()}
        edits = {"edits": json.dumps(EDITS)}
        assert (await client.post(URL, files=files, data=edits, headers=shown)).status_code == 200
        assert_problem(await client.post(URL, files=files, data=edits, headers=shown), 429, "quota-exceeded")
        alone = {"photo": photo_bytes()}
        assert (await client.post(URL, files=alone, data=edits, headers=shown)).status_code == 200
        samples = (await client.get("/metrics")).text
        assert metric(samples, "inversefacenet_key_photos_total", key="tester") == 3
        assert_problem(await client.post(URL, files=files, data=edits), 401, "unauthenticated")
        assert_problem(await client.get(f"{URL}/options"), 401, "unauthenticated")

    serve(check, api_keys=keys)


def test_the_options_name_lights_and_units():
    async def check(client):
        first = (await client.get(f"{URL}/options")).json()
        assert first["lights"] == list(light_names())
        assert [unit["name"] for unit in first["units"]] == list(face_model().unit_names)
        assert all(unit["minimum"] < unit["maximum"] for unit in first["units"])
        assert (await client.get(f"{URL}/options")).json() == first

    serve(check)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("jawOpen", "jaw open"),
        ("mouthSmileLeft", "mouth smile, on the face's own left"),
        ("mouthLeft", "mouth left"),
        ("jawRight", "jaw right"),
        ("mh:eyebrows-right-extern-up", "eyebrows extern up, on the face's own right"),
        ("mh:mouth-open", "mouth open"),
    ],
)
def test_units_are_explained_in_words(name, words):
    assert unit_in_words(name) == words


class RemoteNetwork:
    """Does elsewhere what the stand-in of the network does."""

    name = "triton"
    version = "7"
    digest = FakeBackend.digest

    def __init__(self):
        self.faces = []

    async def infer_async(self, crops, *, timeout=None, metadata=None):
        self.faces.append(len(crops))
        return FakeBackend().infer(crops)

    async def close_async(self):
        pass


def struct(edit):
    return ParseDict(edit, Struct())


def grpc_request(edits=EDITS, **members):
    values = {"content": photo_bytes(160, 120), "edits": [struct(edit) for edit in edits], **members}
    return editing_pb2.EditRequest(**values)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_grpc_edits_the_same_wherever_the_network_runs(where, expected):
    remote = RemoteNetwork() if where == "elsewhere" else None

    async def run():
        async with opened(remote=remote) as service:
            stub = EditingServiceStub(service.channel)
            answer = await stub.Edit(grpc_request(refine_iterations=0))
            np.testing.assert_array_equal(pixels(answer.picture.content), expected[0])
            assert (answer.picture.width, answer.picture.height) == (160, 120)
            (face,) = answer.faces
            np.testing.assert_allclose(face.parameters.rotation, expected[1].rotation, atol=1e-6)
            assert face.reconstructed.rotation[0] == pytest.approx(200 / 255)
            assert face.quality.photometric > 0
            assert not face.HasField("quality_before")
            turn = [{"edit": "mix", "from": "friend", "pose": 1}]
            friend = editing_pb2.OtherFace(content=photo_bytes(80, 60, colour=(51, 150, 120)))
            request = grpc_request(turn, others={"friend": friend}, refine_iterations=1)
            request.picture_format = editing_pb2.PICTURE_FORMAT_JPEG
            answer = await stub.Edit(request)
            assert answer.picture.media_type == "image/jpeg"
            assert answer.faces[0].HasField("quality_before")
            parameters = editing_pb2.OtherFace()
            parameters.parameters.rotation.extend([0.1, 0, 0])
            answer = await stub.Edit(grpc_request(turn, others={"friend": parameters}))
            assert answer.faces[0].parameters.rotation[0] == pytest.approx(0.1)
            if remote is not None:
                assert 2 in remote.faces  # both photos' faces at once

    asyncio.run(asyncio.wait_for(run(), 60))


def test_grpc_says_what_is_wrong():
    many = {str(n): editing_pb2.OtherFace(content=b"x") for n in range(5)}
    endless, nowhere = struct({"edit": "pose", "yaw": 1}), struct({"edit": "pose", "yaw": 1})
    endless.fields["yaw"].number_value = math.inf
    nowhere.fields["yaw"].list_value.values.add().number_value = math.nan
    long = [{"edit": "neutral"}, {"edit": "pose", "yaw": "9" * 300_000}]
    wrong = [
        (editing_pb2.EditRequest(), StatusCode.INVALID_ARGUMENT, "photo"),
        (grpc_request(refine_iterations=31), StatusCode.INVALID_ARGUMENT, "refine_iterations"),
        (grpc_request(picture_format=9), StatusCode.INVALID_ARGUMENT, "picture_format"),
        (grpc_request(others=many), StatusCode.INVALID_ARGUMENT, "others"),
        (grpc_request(others={"a": editing_pb2.OtherFace()}), StatusCode.INVALID_ARGUMENT, "others"),
        (grpc_request([{"edit": "neutral"}] * 65), StatusCode.INVALID_ARGUMENT, "edits"),
        (grpc_request([{"edit": "shave"}]), StatusCode.INVALID_ARGUMENT, "relight"),
        (editing_pb2.EditRequest(content=b"x", edits=[endless]), StatusCode.INVALID_ARGUMENT, "edits[0]"),
        (editing_pb2.EditRequest(content=b"x", edits=[nowhere]), StatusCode.INVALID_ARGUMENT, "edits[0]"),
        (grpc_request(long), StatusCode.INVALID_ARGUMENT, "KiB"),
        (grpc_request(content=BLACK), StatusCode.NOT_FOUND, "No face"),
        (editing_pb2.EditRequest(url="https://example.org/a.jpg"), StatusCode.PERMISSION_DENIED, "fetched"),
    ]

    async def run():
        async with opened() as service:
            stub = EditingServiceStub(service.channel)
            for request, code, word in wrong:
                with pytest.raises(aio.AioRpcError) as error:
                    await stub.Edit(request)
                assert error.value.code() is code
                assert word in error.value.details()
            # All known units are named: the message is long.
            with pytest.raises(aio.AioRpcError) as error:
                await stub.Edit(grpc_request([{"edit": "expression", "units": {"grin": 1}}]))
            for unit in face_model().unit_names:
                assert unit in error.value.details()
            found = await stub.GetEditOptions(editing_pb2.GetEditOptionsRequest())
            assert list(found.lights) == list(light_names())
            assert [unit.name for unit in found.units] == list(face_model().unit_names)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_worker_keeps_nothing_of_what_is_over():
    from services.gateway.jobs import EditJob, PhotoJob

    pipeline = Pipeline(FakeReconstructor())
    photo = PhotoJob(photo_bytes(160, 120))
    job = EditJob(photo, tuple(EDITS), {"friend": replace(photo, faces="largest")})
    prepared = pipeline.prepare(job)
    assert len(prepared.crops) == 2
    thetas = FakeBackend().infer(prepared.crops)
    answered = pipeline.finish(prepared.ticket, thetas, pipeline.model, ("infer", 0.0, 0.0), 60.0)
    assert answered.faces == 1
    assert len(answered.measures) == 1
    assert pipeline._waiting == {}

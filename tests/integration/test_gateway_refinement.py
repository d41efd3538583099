"""`refine`: the optimiser after the network, through every interface; the error before and after."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import asdict

import msgpack
import numpy as np
import pytest
from client_service import WAYS, serving
from gateway_support import (
    FakeBackend,
    FakeReconstructor,
    assert_problem,
    metric,
    photo_bytes,
    running,
    serve,
)
from grpc_support import opened, request
from PIL import Image

import inversefacenet.cli.reconstruct as reconstruct_command
from inversefacenet.cli import main
from inversefacenet.confidence import quality_block
from inversefacenet.errors import DeadlineError, InputError
from inversefacenet.image import decode_photo
from services.gateway.deadline import Deadline
from services.gateway.refinement import MOST_STEPS, check_effort, refined

PNG = {"Content-Type": "image/png"}
URL = "/v1/reconstructions"
STEPS = 2


class RemoteNetwork:
    """Does elsewhere what the stand-in of the network does."""

    name = "triton"
    version = "7"
    digest = FakeBackend.digest

    async def infer_async(self, crops, *, timeout=None, metadata=None):
        return FakeBackend().infer(crops)

    async def close_async(self):
        pass


@pytest.fixture(scope="module")
def expected():
    """What the library says of the stand-in's photo: the refined face."""
    reconstructor = FakeReconstructor()
    (face,) = reconstructor.reconstruct(decode_photo(photo_bytes()))
    return reconstructor.refine(face, STEPS)


def same(block, expected):
    """Compare two blocks of quality."""
    block, expected = dict(block), dict(expected)
    assert block.pop("verdict") == expected.pop("verdict")
    return block == pytest.approx(expected, rel=1e-3)


def assert_refined(face, expected):
    """Check a face of an answer in JSON's form."""
    assert same(face["quality"], expected.assessment())
    assert same(face["quality_before"], quality_block(expected.before, expected.confidence))
    assert face["quality"]["photometric"] < face["quality_before"]["photometric"] - 1
    np.testing.assert_allclose(face["parameters"]["shape"], expected.parameters.shape, atol=1e-4)


def test_every_form_of_an_answer_has_the_error_before_and_after(expected):
    async def check(client):
        in_query = await client.post(f"{URL}?refine={STEPS}", content=photo_bytes(), headers=PNG)
        assert_refined(in_query.json()["faces"][0], expected)
        assert in_query.json()["timings_ms"]["refine"] > 0
        in_form = await client.post(URL, files={"photo": photo_bytes()}, data={"refine": str(STEPS)})
        assert_refined(in_form.json()["faces"][0], expected)
        packed = await client.post(
            f"{URL}?refine={STEPS}", content=photo_bytes(), headers=PNG | {"Accept": "application/msgpack"}
        )
        assert_refined(msgpack.unpackb(packed.content)["faces"][0], expected)
        several = await client.post(
            f"{URL}/batch?refine={STEPS}", files=[("photo", photo_bytes()), ("photo", photo_bytes())]
        )
        for result in several.json()["results"]:
            assert_refined(result["reconstruction"]["faces"][0], expected)
        samples = (await client.get("/metrics")).text
        assert metric(samples, "inversefacenet_stage_seconds_count", stage="refine") == 5

    serve(check)


def test_without_it_an_answer_is_as_ever():
    async def check(client):
        for query in ("", "?refine=0"):
            answer = (await client.post(URL + query, content=photo_bytes(), headers=PNG)).json()
            assert "quality_before" not in answer["faces"][0]
            assert "refine" not in answer["timings_ms"]

    serve(check)


@pytest.mark.parametrize("value", ["31", "-1", "2.5", "many"])
def test_steps_that_there_are_not_are_refused(value):
    async def check(client):
        answer = await client.post(f"{URL}?refine={value}", content=photo_bytes(), headers=PNG)
        (entry,) = assert_problem(answer, 422, "invalid-request").errors
        assert entry.field == "query.refine"

    serve(check)


def test_a_crop_whose_landmarks_nobody_knows_is_refined_too():
    async def check(client):
        crop = FakeReconstructor().find(decode_photo(photo_bytes()))[0].crop.image
        buffer = io.BytesIO()
        Image.fromarray(crop).save(buffer, format="PNG")
        answer = await client.post(f"{URL}?input=crop&refine={STEPS}", content=buffer.getvalue(), headers=PNG)
        (face,) = answer.json()["faces"]
        assert face["quality"]["photometric"] < face["quality_before"]["photometric"]
        assert "landmark" not in face["quality"]
        assert "confidence" not in face["quality_before"]

    serve(check)


def test_files_show_the_refined_face(expected):
    async def check(client):
        asked = {"Accept": "model/gltf-binary"} | PNG
        plain = await client.post(URL, content=photo_bytes(), headers=asked)
        better = await client.post(f"{URL}?refine={STEPS}", content=photo_bytes(), headers=asked)
        assert better.content[:4] == b"glTF"
        assert better.content != plain.content
        told = float(better.headers["X-Quality-Photometric"])
        assert told == pytest.approx(expected.quality.photometric, rel=1e-3)

    serve(check)


def test_with_the_network_elsewhere(expected):
    async def run():
        async with opened(remote=RemoteNetwork()) as service:
            answer = await service.photos.Reconstruct(request(refine_iterations=STEPS))
            (face,) = answer.faces
            assert face.quality.photometric == pytest.approx(expected.quality.photometric, rel=1e-3)
            assert answer.timings_ms["refine"] > 0

    asyncio.run(asyncio.wait_for(run(), 60))


def test_grpc_answers_the_same_and_names_the_field_that_is_wrong(expected):
    async def run():
        async with opened() as service:
            (face,) = (await service.photos.Reconstruct(request(refine_iterations=STEPS))).faces
            assert face.quality.photometric == pytest.approx(expected.quality.photometric, rel=1e-3)
            assert face.quality_before.photometric == pytest.approx(expected.before.photometric, rel=1e-3)
            (plain,) = (await service.photos.Reconstruct(request())).faces
            assert not plain.HasField("quality_before")
            with pytest.raises(Exception, match="refine_iterations: must be 0 to 30"):
                await service.photos.Reconstruct(request(refine_iterations=31))

    asyncio.run(asyncio.wait_for(run(), 60))


def test_all_clients_say_the_same(expected):
    with serving(FakeReconstructor()) as service:
        for way in WAYS:
            (face,) = service.ask(way, "reconstruct", photo_bytes(), refine=STEPS).faces
            assert same(asdict(face.quality), expected.assessment())
            assert face.quality_before.photometric == pytest.approx(expected.before.photometric, rel=1e-3)
            (plain,) = service.ask(way, "reconstruct", photo_bytes()).faces
            assert plain.quality_before is None
            with pytest.raises(InputError, match="refine counts steps"):
                service.ask(way, "reconstruct", photo_bytes(), refine=-1)
            with pytest.raises(Exception, match="refine"):
                service.ask(way, "reconstruct", photo_bytes(), refine=31)


def test_the_command_prints_before_and_after_alike_here_and_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reconstruct_command, "make_reconstructor", lambda *_: FakeReconstructor())
    photo = tmp_path / "photo.png"
    photo.write_bytes(photo_bytes())
    shown, documents = [], []
    with serving(FakeReconstructor()) as service:
        for extra in ([], ["--server", service.address("http")], ["--server", service.address("grpc")]):
            out = tmp_path / f"out{len(shown)}"
            arguments = ["reconstruct", str(photo), "--output-dir", str(out), "--faces", "all"]
            assert main([*arguments, "--refine", str(STEPS), *extra]) == 0
            lines = capsys.readouterr().out.replace(str(out), "OUT").splitlines()
            shown.append([line for line in lines if "seconds=" not in line])
            documents.append(json.loads((out / "photo.1.parameters.json").read_text()))
            assert len(list(out.glob("photo.2.*"))) == 6
    assert shown[0] == shown[1] == shown[2]
    for document in documents:
        assert document["quality"]["photometric"] < document["quality_before"]["photometric"]
    first = documents[0]
    words = (first["quality_before"]["photometric"], first["quality"]["photometric"])
    assert "photometric={:.1f}->{:.1f}".format(*words) in shown[0][0]


@pytest.mark.parametrize("steps", ["31", "-1", "some"])
def test_the_command_refuses_steps_that_there_are_not(steps, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["reconstruct", "photo.png", "--output-dir", str(tmp_path), "--refine", steps])
    assert exit.value.code == 2
    assert "from 0 to 30" in capsys.readouterr().err


def test_the_effort_is_bounded():
    check_effort(30, MOST_STEPS // 30)
    check_effort(0, 1000)
    with pytest.raises(InputError, match="fewer steps"):
        check_effort(30, MOST_STEPS // 30 + 1)


def test_it_ends_with_the_time():
    reconstructor = FakeReconstructor()
    faces = reconstructor.reconstruct(decode_photo(photo_bytes()), "all")
    assert refined(reconstructor, faces, 0, Deadline.after(-1)) == faces
    with pytest.raises(DeadlineError):
        refined(reconstructor, faces, 1, Deadline.after(-1))
    taken = []

    def refine(face, iterations):
        taken.append(iterations)
        return face

    reconstructor.refine = refine
    assert refined(reconstructor, faces, 3, Deadline.after(60)) == faces
    assert taken == [3, 3]


def test_a_request_whose_time_is_over_is_answered_so():
    async def run():
        async with running(FakeReconstructor()) as client:
            headers = PNG | {"X-Request-Timeout": "0.3"}
            photo = photo_bytes(640, 480)
            answer = await client.post(f"{URL}?refine=30&faces=all", content=photo, headers=headers)
            assert_problem(answer, 504, "deadline-exceeded")

    asyncio.run(asyncio.wait_for(run(), 60))

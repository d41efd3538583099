"""Every form of an answer, read back by the programs that people read such files with."""

import email.parser
import email.policy
import io
import json
import math
import zipfile

import msgpack
import numpy as np
import pytest
import trimesh
from gateway_support import FakeReconstructor, assert_problem, face_model, photo_bytes, serve
from PIL import Image

from services.gateway.schemas import ReconstructionAnswer

URL = "/v1/reconstructions"
PNG = {"Content-Type": "image/png"}
EVERYTHING = "return=mesh,rendering,overlay,contours&faces=all"


def read_parts(response):
    """Return the parts of a multipart answer, as the standard library's e-mail parser sees them."""
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + response.content)
    assert message.get_content_type() == "multipart/mixed"
    assert not message.defects
    return list(message.iter_parts())


def payload(part):
    content = part.get_payload(decode=True)
    assert len(content) == int(part["Content-Length"])
    return content


def loaded_mesh(content, file_type):
    if file_type == "obj":
        archive = zipfile.ZipFile(io.BytesIO(content))
        (name,) = [name for name in archive.namelist() if name.endswith(".obj")]
        assert any(name.endswith(".mtl") for name in archive.namelist())
        content = archive.read(name)
    return trimesh.load(io.BytesIO(content), file_type=file_type, force="mesh", process=False)


def loaded_picture(content):
    picture = Image.open(io.BytesIO(content))
    picture.load()
    assert picture.format == "PNG"
    return picture


async def ask(client, accept, query="", content=None):
    headers = {**PNG, "Accept": accept}
    return await client.post(f"{URL}?{query}", content=content or photo_bytes(), headers=headers)


def same_numbers(tree, other):
    """Compare trees of numbers; float32 in one of them is exact enough."""
    if isinstance(tree, dict):
        ignored = {"id", "timings_ms", "base64", "content", "part"}
        assert set(tree) - ignored == set(other) - ignored
        return all(same_numbers(tree[key], other[key]) for key in set(tree) - ignored)
    if isinstance(tree, list):
        return len(tree) == len(other) and all(map(same_numbers, tree, other))
    if isinstance(tree, float):
        return math.isclose(tree, other, rel_tol=1e-6)
    return tree == other


def test_json_is_what_the_schema_says():
    async def check(client):
        response = await ask(client, "application/json", EVERYTHING)
        assert response.headers["content-type"] == "application/json"
        answer = ReconstructionAnswer.model_validate_json(response.content)
        assert len(answer.faces) == 2
        tree = json.loads(response.content, parse_constant=pytest.fail)
        assert ReconstructionAnswer(**tree).model_dump(exclude_none=True) == tree

    serve(check)


@pytest.mark.parametrize("name", ["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"])
def test_msgpack_holds_the_same_with_files_as_bytes(name):
    async def check(client):
        plain = (await ask(client, "*/*", EVERYTHING)).json()
        response = await ask(client, name, EVERYTHING)
        assert response.headers["content-type"] == name
        assert response.headers["vary"] == "Accept"
        answer = msgpack.unpackb(response.content)
        assert same_numbers(answer, plain)
        for face in answer["faces"]:
            mesh = loaded_mesh(face["mesh"]["content"], "glb")
            assert len(mesh.vertices) == face_model().vertex_count
            for picture in face["pictures"].values():
                assert loaded_picture(picture["content"]).size == (picture["width"], picture["height"])
        assert loaded_picture(answer["overlay"]["content"]).size == (64, 48)
        assert len(response.content) < 0.8 * len(json.dumps(plain))

    serve(check)


def test_multipart_holds_the_same_with_files_as_parts():
    async def check(client):
        plain = (await ask(client, "*/*", EVERYTHING)).json()
        response = await ask(client, "multipart/mixed", EVERYTHING)
        first, *files = read_parts(response)
        assert first.get_content_type() == "application/json"
        answer = json.loads(payload(first))
        assert same_numbers(answer, plain)
        named = {part["Content-ID"].strip("<>"): part for part in files}
        assert len(named) == len(files) == 7
        for face in answer["faces"]:
            mesh = named.pop(face["mesh"]["part"])
            assert mesh.get_content_type() == face["mesh"]["media_type"] == "model/gltf-binary"
            assert mesh.get_filename() == face["mesh"]["part"]
            assert len(loaded_mesh(payload(mesh), "glb").vertices) == face_model().vertex_count
            for picture in face["pictures"].values():
                found = loaded_picture(payload(named.pop(picture["part"])))
                assert found.size == (picture["width"], picture["height"])
        assert loaded_picture(payload(named.pop(answer["overlay"]["part"]))).size == (64, 48)
        assert not named

    serve(check)


def test_multipart_without_files_is_one_part():
    async def check(client):
        (only,) = read_parts(await ask(client, "multipart/mixed"))
        assert len(json.loads(payload(only))["faces"]) == 1

    serve(check)


@pytest.mark.parametrize(
    ("accept", "file_type", "millimetres"),
    [("model/gltf-binary", "glb", 1000), ("application/zip", "obj", 1), ("application/ply", "ply", 1)],
)
def test_a_mesh_alone(accept, file_type, millimetres):
    async def check(client):
        # What Accept says of the format counts, whatever the query says.
        response = await ask(client, accept, "faces=all&return=overlay&mesh_format=glb")
        assert response.headers["content-type"] == accept
        assert file_type in response.headers["content-disposition"]
        mesh = loaded_mesh(response.content, file_type)
        assert len(mesh.vertices) == face_model().vertex_count
        assert 100 < mesh.extents[0] * millimetres < 300

    serve(check)


def test_the_mesh_turned_and_lit_as_in_the_photo():
    async def check(client):
        straight, turned = [
            loaded_mesh((await ask(client, "application/ply", f"mesh_space={space}")).content, "ply")
            for space in ("model", "camera")
        ]
        assert not np.allclose(straight.vertices, turned.vertices, atol=1)
        np.testing.assert_allclose(
            np.linalg.norm(straight.vertices, axis=1), np.linalg.norm(turned.vertices, axis=1), atol=1e-2
        )
        bare, lit = [
            loaded_mesh((await ask(client, "application/ply", f"mesh_colours={colours}")).content, "ply")
            for colours in ("reflectance", "shaded")
        ]
        assert lit.visual.vertex_colors[:, :3].mean() < bare.visual.vertex_colors[:, :3].mean()

    serve(check)


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ("", (480, 480)),
        ("size=64", (64, 64)),
        ("return=mesh&size=64", (64, 64)),
        ("return=overlay", (64, 48)),
        ("return=contours", (480, 480)),
        ("return=contours,overlay", (480, 480)),
        ("return=mesh,overlay,contours", (64, 48)),
    ],
)
def test_a_picture_alone(query, size):
    async def check(client):
        response = await ask(client, "image/png", query)
        assert response.headers["content-type"] == "image/png"
        assert 'filename="face.png"' in response.headers["content-disposition"]
        picture = loaded_picture(response.content)
        assert picture.size == size
        assert np.asarray(picture).std() > 1

    serve(check)


def test_a_file_alone_tells_its_quality_in_headers():
    async def check(client):
        plain = (await ask(client, "*/*")).json()["faces"][0]["quality"]
        for accept in ("image/png", "model/gltf-binary"):
            headers = (await ask(client, accept)).headers
            names = {name: name.lower() for name in ("Photometric", "IoU", "NME", "Confidence")}
            for name, key in names.items():
                assert float(headers[f"x-quality-{name}"]) == pytest.approx(plain[key], rel=1e-4)
            assert headers["vary"] == "Accept"
        pixels = np.zeros((240, 240, 3), np.uint8)
        pixels[50:200, 50:200] = 99
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG")
        headers = (await ask(client, "image/png", "input=crop", buffer.getvalue())).headers
        assert "x-quality-photometric" in headers
        assert "x-quality-nme" not in headers
        assert "x-quality-confidence" not in headers

    serve(check)


def test_nothing_acceptable_is_said_before_the_body_is_read():
    sent = []

    async def body():
        sent.append(1)
        yield photo_bytes()

    async def check(client):
        headers = {**PNG, "Accept": "text/html", "Expect": "100-continue"}
        response = await client.post(URL, content=body(), headers=headers)
        problem = assert_problem(response, 406, "not-acceptable")
        assert "multipart/mixed" in problem.detail
        assert response.headers["vary"] == "Accept"
        assert not sent

    serve(check)


def test_problems_are_problems_whatever_was_accepted():
    async def check(client):
        for accept in ("image/png", "application/msgpack", "model/gltf-binary", "multipart/mixed"):
            assert_problem(await ask(client, accept, content=b"no photo" * 9), 415, "unsupported-image")

    serve(check)


def test_several_accept_headers_count_as_one():
    async def check(client):
        headers = [("Content-Type", "image/png"), ("Accept", "text/html"), ("Accept", "image/png")]
        response = await client.send(
            client.build_request("POST", URL, content=photo_bytes(), headers=headers)
        )
        assert response.headers["content-type"] == "image/png"

    reconstructor = FakeReconstructor()
    serve(check, reconstructor)

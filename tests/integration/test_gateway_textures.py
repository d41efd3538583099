"""Meshes with the photo as texture, and in the photo's own pixels, through every interface."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import zipfile

import numpy as np
import pytest
from client_service import WAYS, serving
from gateway_support import FakeReconstructor, assert_problem, photo_bytes, serve
from grpc import StatusCode, aio
from grpc_support import opened, request
from PIL import Image

import inversefacenet.cli.reconstruct as reconstruct_command
from inversefacenet.cli import main
from inversefacenet.client.requests import render_job
from inversefacenet.errors import ExportError, InputError
from inversefacenet.export import mesh_of, mesh_to_bytes
from inversefacenet.image import decode_photo
from inversefacenet.parameters import Parameters
from inversefacenet.v1 import output_pb2, rendering_pb2

URL = "/v1/reconstructions"
PNG = {"Content-Type": "image/png"}
GLB = PNG | {"Accept": "model/gltf-binary"}


def gradient():
    """Return a photo that is nowhere the same."""
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    pixels = np.stack([90 + x, 60 + y, 200 - x], axis=2).clip(1, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


PHOTO = gradient()


@pytest.fixture(scope="module")
def expected():
    """The library's meshes of the photo by format."""
    image = decode_photo(PHOTO)
    (face,) = FakeReconstructor().reconstruct(image)
    mesh = mesh_of(face, "photo", "photo", image, 256)
    return {form: mesh_to_bytes(mesh, form) for form in ("glb", "obj", "ply")}


def test_a_mesh_wears_the_photo_and_lies_over_it(expected):
    query = "mesh_colours=photo&mesh_space=photo&texture_size=256"

    async def check(client):
        for form, accept in (
            ("glb", "model/gltf-binary"),
            ("obj", "application/zip"),
            ("ply", "application/ply"),
        ):
            answer = await client.post(f"{URL}?{query}", content=PHOTO, headers=PNG | {"Accept": accept})
            assert answer.status_code == 200, answer.content[:300]
            assert answer.content == expected[form]
        inside = await client.post(f"{URL}?{query}&return=mesh", content=PHOTO, headers=PNG)
        mesh = inside.json()["faces"][0]["mesh"]
        assert base64.b64decode(mesh["base64"]) == expected["glb"]
        plain = await client.post(URL, content=PHOTO, headers=GLB)
        assert plain.content != expected["glb"]
        with zipfile.ZipFile(io.BytesIO(expected["obj"])) as archive:
            assert sorted(name.rpartition(".")[2] for name in archive.namelist()) == ["jpg", "mtl", "obj"]

    serve(check)


def test_with_the_work_elsewhere_and_over_grpc(expected):
    options = output_pb2.MeshOptions(
        space=output_pb2.MESH_SPACE_PHOTO, colours=output_pb2.MESH_COLOURS_PHOTO, texture_size=256
    )

    async def run():
        async with opened() as service:
            asked = request(content=PHOTO, parts=[output_pb2.PART_MESH], mesh=options)
            answer = await service.photos.Reconstruct(asked)
            assert answer.faces[0].mesh.content == expected["glb"]
            for size in (255, 4097):
                options.texture_size = size
                asked = request(content=PHOTO, parts=[output_pb2.PART_MESH], mesh=options)
                with pytest.raises(aio.AioRpcError) as error:
                    await service.photos.Reconstruct(asked)
                assert "mesh.texture_size" in error.value.details()
            for wrong in ({"space": output_pb2.MESH_SPACE_PHOTO}, {"colours": output_pb2.MESH_COLOURS_PHOTO}):
                asked = rendering_pb2.RenderRequest(
                    output=rendering_pb2.RENDER_OUTPUT_MESH, mesh=output_pb2.MeshOptions(**wrong)
                )
                with pytest.raises(aio.AioRpcError) as error:
                    await service.renderings.Render(asked)
                assert error.value.code() is StatusCode.INVALID_ARGUMENT
                assert "parameters alone have no photo" in error.value.details()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_what_cannot_be_is_refused():
    async def check(client):
        for size in (255, 4097):
            answer = await client.post(f"{URL}?texture_size={size}", content=PHOTO, headers=PNG)
            (entry,) = assert_problem(answer, 422, "invalid-request").errors
            assert entry.field == "query.texture_size"
        for member in ("mesh_space", "mesh_colours"):
            answer = await client.post("/v1/renderings", json={"parameters": {}, member: "photo"})
            (entry,) = assert_problem(answer, 422, "invalid-request").errors
            assert (entry.field, entry.message) == (
                f"body.{member}",
                "parameters alone have no photo: send the photo to /v1/reconstructions for this",
            )
        query = "faces=all&return=mesh&mesh_colours=photo&texture_size=4096"
        answer = await client.post(f"{URL}?{query}", content=PHOTO, headers=PNG)
        problem = assert_problem(answer, 400, "invalid-input")
        assert "smaller texture_size or fewer faces" in problem.detail

    serve(check)


def test_a_face_model_without_an_atlas_is_the_callers_to_know(monkeypatch):
    def fail(*_):
        raise ExportError("No atlas at /srv/secret.")

    monkeypatch.setattr("inversefacenet.export.mesh_of", fail)

    async def check(client):
        answer = await client.post(f"{URL}?mesh_colours=photo", content=PHOTO, headers=GLB)
        problem = assert_problem(answer, 400, "invalid-input")
        assert "mesh_colours" in problem.detail
        assert "secret" not in problem.detail

    serve(check)


def test_clients_and_commands_do_the_same(expected, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reconstruct_command, "make_reconstructor", lambda *_: FakeReconstructor())
    options = {"mesh_space": "photo", "mesh_colours": "photo", "texture_size": 256}
    photo = tmp_path / "my photo.png"
    photo.write_bytes(PHOTO)
    arguments = ["reconstruct", str(photo), "--no-geometry", "--mesh", "glb,obj,ply", "--texture-size", "256"]
    arguments += ["--mesh-space", "photo", "--mesh-colours", "photo", "--json"]
    with serving(FakeReconstructor()) as service:
        for way in WAYS:
            result = service.ask(way, "reconstruct", PHOTO, parts=["mesh"], **options)
            assert result.faces[0].mesh.content == expected["glb"]
        for place, extra in (("here", []), ("there", ["--server", service.address("http")])):
            assert main([*arguments, "--output-dir", str(tmp_path / place), *extra]) == 0
            (line,) = capsys.readouterr().out.splitlines()
            written = {name.rpartition("/")[2] for name in json.loads(line)["files"]}
            assert {"my_photo.jpg", "my_photo.mtl", "my photo.obj"} <= written
    for name in ("my photo.ply", "my photo.obj", "my_photo.mtl", "my_photo.jpg"):
        local, remote = ((tmp_path / place / name).read_bytes() for place in ("here", "there"))
        assert local == remote, name
    assert b"map_Kd my_photo.jpg" in (tmp_path / "there" / "my_photo.mtl").read_bytes()


@pytest.mark.parametrize("photo", [{"mesh_space": "photo"}, {"mesh_colours": "photo"}])
def test_a_client_asks_for_no_photo_of_parameters(photo):
    usual = dict.fromkeys(("mesh_space", "mesh_colours", "size", "background")) | {"mesh_format": "glb"}
    with pytest.raises(InputError, match="have no photo"):
        render_job(Parameters.neutral(), geometry=False, **(usual | photo))


@pytest.mark.parametrize("command", ["render", "sample"])
def test_commands_without_a_photo_know_no_such_mesh(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "x", "--mesh-colours", "photo"])
    assert "photo" in capsys.readouterr().err


def test_a_photo_without_textures_is_not_kept():
    from services.gateway.jobs import Output
    from services.gateway.schemas import Part

    mesh = frozenset({Part.MESH})
    assert not Output(mesh).needs_photo
    assert not Output(mesh_colours="photo").needs_photo
    assert Output(mesh, mesh_colours="photo").needs_photo
    assert Output(mesh, mesh_space="photo").needs_photo
    assert Output(frozenset({Part.OVERLAY})).needs_photo


def test_the_photo_of_a_crop_is_the_crop():
    async def check(client):
        crop = photo_bytes(240, 240)
        query = "input=crop&mesh_colours=photo&texture_size=256"
        answer = await client.post(f"{URL}?{query}", content=crop, headers=GLB)
        assert answer.content[:4] == b"glTF"

    serve(check)

"""Parameters in, pictures and meshes out; and which networks answer."""

import base64
import io

import numpy as np
import pytest
import trimesh
from gateway_support import DIGEST, assert_problem, face_model, photo_bytes, serve
from PIL import Image

from inversefacenet.export import face_mesh
from inversefacenet.parameters import Parameters
from inversefacenet.visualisation import face_picture
from services.gateway.schemas import ModelInfo, ModelList

URL = "/v1/renderings"


def pixels(response):
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.content)))


def some_parameters():
    rng = np.random.default_rng(3)
    vector = rng.normal(0, 1, 350).astype(np.float32)
    vector[:3] *= 0.2
    vector[323:] = Parameters.neutral().vector()[323:]
    return Parameters.from_vector(vector)


def test_a_picture_from_groups_and_from_the_vector():
    parameters = some_parameters()
    expected = face_picture(face_model(), parameters, 96)

    async def check(client):
        for given in (parameters.to_dict(), {"vector": parameters.vector().tolist()}):
            shown = pixels(await client.post(URL, json={"parameters": given, "size": 96}))
            np.testing.assert_array_equal(shown, expected)

    serve(check)


def test_what_is_left_out_is_neutral():
    async def check(client):
        shown = pixels(await client.post(URL, json={"parameters": {}}))
        np.testing.assert_array_equal(shown, face_picture(face_model(), Parameters.neutral(), 480))

    serve(check)


def test_background_and_geometry():
    async def check(client):
        async def post(**values):
            return pixels(await client.post(URL, json={"parameters": {}, "size": 64, **values}))

        black, white, clear, clay = [
            await post(),
            await post(background=[255, 255, 255]),
            await post(background="transparent"),
            await post(geometry=True),
        ]
        assert clear.shape == (64, 64, 4)
        assert set(np.unique(clear[..., 3])) > {0, 255}
        outside, whole = clear[..., 3] == 0, clear[..., 3] == 255
        assert (black[outside] == 0).all()
        assert (white[outside] == 255).all()
        np.testing.assert_array_equal(clear[whole][:, :3], black[whole])
        np.testing.assert_array_equal(white[whole], black[whole])
        assert (black[whole].max(axis=1) - black[whole].min(axis=1)).mean() > 10
        assert (clay[whole].max(axis=1) - clay[whole].min(axis=1)).max() <= 1

    serve(check)


@pytest.mark.parametrize(("accept", "file_type"), [("model/gltf-binary", "glb"), ("application/ply", "ply")])
def test_a_mesh(accept, file_type):
    parameters = some_parameters()

    async def check(client):
        body = {"parameters": parameters.to_dict(), "mesh_space": "camera", "mesh_colours": "shaded"}
        response = await client.post(URL, json=body, headers={"Accept": accept})
        assert response.headers["content-type"] == accept
        assert response.headers["vary"] == "Accept"
        loaded = trimesh.load(io.BytesIO(response.content), file_type=file_type, force="mesh", process=False)
        expected = face_mesh(face_model(), parameters, "camera", "shaded").vertices
        scale = 1000 if file_type == "glb" else 1
        np.testing.assert_allclose(loaded.vertices * scale, expected, atol=1e-3)

    serve(check)


def test_what_an_answer_holds_can_be_sent_back():
    async def check(client):
        photo = await client.post(
            "/v1/reconstructions?return=rendering&size=64", files={"photo": ("a", photo_bytes())}
        )
        (face,) = photo.json()["faces"]
        shown = await client.post(URL, json={"parameters": face["parameters"], "size": 64})
        assert shown.content == base64.b64decode(face["pictures"]["rendering"]["base64"])

    serve(check)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"shape": [1.0]}, "shape (128,)"),
        ({"rotation": ["a", "b", "c"]}, "numbers"),
        ({"rotation": [[1], [2, 3]]}, "rotation"),
        ({"rotation": [True, False, True]}, "numbers"),
        ({"rotation": [1e39, 0, 0]}, "finite"),
        ({"age": [40]}, "known ones"),
        ({"vector": [0.0] * 349}, "350 numbers"),
        ({"vector": [[0.0] * 350]}, "350 numbers"),
        ({"vector": "zeros"}, "350 numbers"),
        ({"vector": [[0], [0, 0]]}, "350 numbers"),
        ({"vector": [0.0] * 350, "rotation": [0, 0, 0]}, "not both"),
        ({"shape": [1e30] * 128}, "no face"),
        ({"expression": [-3e38, 3e38] * 32}, "no face"),
    ],
)
def test_parameters_that_cannot_be_used(parameters, words):
    async def check(client):
        for accept in ("image/png", "model/gltf-binary"):
            response = await client.post(URL, json={"parameters": parameters}, headers={"Accept": accept})
            assert words in assert_problem(response, 422, "invalid-parameters").detail

    serve(check)


def test_light_that_overflows():
    async def check(client):
        body = {"parameters": {"illumination": [[3e38] * 3] * 9}}
        response = await client.post(URL, json=body)
        assert "no face" in assert_problem(response, 422, "invalid-parameters").detail

    serve(check)


@pytest.mark.parametrize("scale", [10.0, 1e3, 1e6, 1e15])
def test_parameters_far_beyond_any_face_do_no_harm(scale):
    vector = np.random.default_rng(5).normal(0, scale, 350)

    async def check(client):
        body = {"parameters": {"vector": vector.tolist()}, "size": 64}
        for accept in ("image/png", "model/gltf-binary"):
            response = await client.post(URL, json=body, headers={"Accept": accept})
            assert response.status_code in (200, 422)

    serve(check)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "parameters"),
        ({"parameters": []}, "parameters"),
        ({"parameters": {}, "size": 15}, "size"),
        ({"parameters": {}, "size": 5000}, "size"),
        ({"parameters": {}, "background": [0, 0, 256]}, "background"),
        ({"parameters": {}, "background": "pink"}, "background"),
        ({"parameters": {}, "background": [0, 0]}, "background"),
        ({"parameters": {}, "mesh_format": "glb"}, "mesh_format"),
        ({"parameters": {}, "geometry": 1}, "geometry"),
    ],
)
def test_a_wrong_member_is_named(values, field):
    async def check(client):
        problem = assert_problem(await client.post(URL, json=values), 422, "invalid-request")
        assert all(error.field.startswith(f"body.{field}") for error in problem.errors)

    serve(check)


def test_other_bodies_and_forms_are_refused():
    async def check(client):
        assert_problem(await client.post(URL, content=b"{}"), 415, "unsupported-media-type")
        form = await client.post(URL, files={"photo": ("a", b"x")})
        assert_problem(form, 415, "unsupported-media-type")
        plain = await client.post(URL, json={"parameters": {}}, headers={"Accept": "application/json"})
        assert_problem(plain, 406, "not-acceptable")

    serve(check)


def test_the_networks_that_answer():
    async def check(client):
        response = await client.get("/v1/models")
        (model,) = ModelList.model_validate_json(response.content).models
        assert (model.name, model.backend, model.digest) == ("inversefacenet", "fake", DIGEST)
        assert model.face_model.digest == face_model().digest
        one = await client.get(f"/v1/models/{model.name}")
        assert ModelInfo.model_validate_json(one.content) == model
        for name in ("other", "a b", "%00", "x" * 3000):
            assert_problem(await client.get(f"/v1/models/{name}"), 404, "not-found")
        photo = await client.post("/v1/reconstructions", files={"photo": ("a", photo_bytes())})
        assert photo.json()["model"] == model.model_dump()

    serve(check)


@pytest.mark.parametrize("background", ["pink", [0, 0, 256], [0, 0], [0.5, 0, 0], None])
def test_a_background_that_is_none_is_told_in_one_plain_message(background):
    async def check(client):
        response = await client.post(URL, json={"parameters": {}, "background": background})
        (error,) = assert_problem(response, 422, "invalid-request").errors
        assert error.field == "body.background"
        assert error.message == "must be [red, green, blue], whole numbers from 0 to 255, or 'transparent'"

    serve(check)


@pytest.mark.parametrize("name", ["vector", "rotation"])
def test_parameters_outside_their_member_are_told_where_they_belong(name):
    async def check(client):
        response = await client.post(URL, json={name: [0.0] * 350})
        detail = assert_problem(response, 422, "invalid-request").detail
        assert f'{{"parameters": {{"{name}": [...]}}}}' in detail

    serve(check)

"""A real photograph through the real pipeline: every way to send it leads to the same face."""

import base64
import io
import json

import msgpack
import numpy as np
import pytest
import trimesh
from gateway_support import assert_problem, serve
from PIL import Image

from inversefacenet import Reconstructor, load_photo
from inversefacenet.crop import crop_face
from services.gateway.examples import BATCH_EXAMPLES, PHOTO_EXAMPLES

URL = "/v1/reconstructions"
PNG = {"Content-Type": "image/png"}
JUDGED = ("confidence", "verdict")  # the detector's score counts where it was asked


@pytest.fixture(scope="module")
def reconstructor():
    return Reconstructor()


@pytest.fixture(scope="module")
def photo_path(request):
    return request.config.rootpath / "examples" / "astronaut.png"


def png(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def vector(face):
    groups = ("rotation", "shape", "expression", "reflectance", "illumination")
    return np.concatenate([np.ravel(face["parameters"][name]) for name in groups])


def the_face(response):
    assert response.status_code == 200, response.content[:300]
    (face,) = response.json()["faces"]
    return face


def test_photo_landmarks_and_crop_lead_to_the_same_parameters(reconstructor, photo_path):
    async def check(client):
        photo = photo_path.read_bytes()
        seen = the_face(await client.post(URL, content=photo, headers=PNG))
        points = seen["landmarks68"]
        landmarks = {"landmarks": json.dumps(points)}
        known = the_face(await client.post(URL, params=landmarks, content=photo, headers=PNG))
        assert known["landmarks68"] == points
        measures = {name: seen["quality"][name] for name in seen["quality"] if name not in JUDGED}
        assert {name: known["quality"][name] for name in measures} == measures
        assert {seen["quality"]["verdict"], known["quality"]["verdict"]} <= {"good", "doubtful"}
        crop = crop_face(load_photo(photo_path), np.float32(points))
        masked = png(Image.fromarray(crop.image))
        cropped = the_face(await client.post(f"{URL}?input=crop", content=masked, headers=PNG))
        whole = {
            "photo": {"base64": base64.b64encode(png(Image.fromarray(crop.unmasked))).decode()},
            "crop": True,
            "landmarks": crop.landmarks.tolist(),
        }
        unmasked = the_face(await client.post(URL, json=whole))
        for face in (known, cropped, unmasked):
            np.testing.assert_allclose(vector(face), vector(seen), atol=1e-4)
        assert cropped["quality"]["iou"] == pytest.approx(seen["quality"]["iou"], abs=0.02)
        assert unmasked["quality"].pop("verdict") == known["quality"].pop("verdict")
        assert unmasked["quality"] == pytest.approx(known["quality"], rel=1e-5)
        assert "confidence" not in cropped["quality"]
        # Other landmarks are another face, so the equality above says something.
        moved = {"landmarks": json.dumps((np.array(points) + np.array([25, 0])).tolist())}
        other = the_face(await client.post(URL, params=moved, content=photo, headers=PNG))
        assert np.abs(vector(other) - vector(seen)).max() > 0.05

    serve(check, reconstructor)


def test_landmarks_are_those_of_the_upright_photo(reconstructor, photo_path):
    async def check(client):
        upright = Image.open(photo_path).convert("RGB")
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: the file's left edge is the scene's top
        turned = upright.transpose(Image.Transpose.ROTATE_90)
        plain = await client.post(URL, content=png(upright), headers=PNG)
        tagged = await client.post(URL, content=png(turned, exif=exif), headers=PNG)
        assert plain.json()["faces"] == tagged.json()["faces"]
        assert plain.json()["image"] == tagged.json()["image"]
        overlays = [
            await client.post(
                f"{URL}?return=overlay", content=content, headers={**PNG, "Accept": "image/png"}
            )
            for content in (png(upright), png(turned, exif=exif))
        ]
        assert overlays[0].content == overlays[1].content

    serve(check, reconstructor)


def test_a_least_size_keeps_small_faces_out(reconstructor, photo_path):
    async def check(client):
        photo = photo_path.read_bytes()
        face = the_face(await client.post(f"{URL}?minimum_size=60", content=photo, headers=PNG))
        width = face["box"]["right"] - face["box"]["left"]
        assert width > 60
        refused = await client.post(f"{URL}?minimum_size={2 * width}", content=photo, headers=PNG)
        assert_problem(refused, 422, "no-face")

    serve(check, reconstructor)


def test_the_documents_examples_show_a_face(reconstructor):
    async def check(client):
        face = the_face(await client.post(URL, json=PHOTO_EXAMPLES["sent"]["value"]))
        assert face["quality"]["iou"] > 0.5
        batch = await client.post(f"{URL}/batch", json=BATCH_EXAMPLES["batch"]["value"])
        assert [one["status"] for one in batch.json()["results"]] == [200, 403]

    serve(check, reconstructor)


def test_msgpack_and_glb_of_a_photograph(reconstructor, photo_path):
    async def check(client):
        photo = photo_path.read_bytes()
        headers = {**PNG, "Accept": "application/msgpack"}
        packed = msgpack.unpackb(
            (await client.post(f"{URL}?return=mesh", content=photo, headers=headers)).content
        )
        (face,) = packed["faces"]
        plain = the_face(await client.post(URL, content=photo, headers=PNG))
        np.testing.assert_array_equal(np.float32(vector(face)), np.float32(vector(plain)))
        alone = await client.post(URL, content=photo, headers={**PNG, "Accept": "model/gltf-binary"})
        assert alone.content == face["mesh"]["content"]
        mesh = trimesh.load(io.BytesIO(alone.content), file_type="glb", force="mesh")
        assert 0.1 < mesh.extents[0] < 0.3

    serve(check, reconstructor)

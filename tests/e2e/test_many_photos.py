"""Two hundred different photos at once, over both interfaces: each gets its own face back."""

import numpy as np
import pytest

from benchmarks.load.answers import parameters_of
from benchmarks.load.client import Client
from benchmarks.load.faces import image_file, rendered_faces
from benchmarks.load.loops import Plan
from benchmarks.load.requests import RECONSTRUCT, Request, rest_photo
from benchmarks.load.servers import GatewayServer
from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.crop import crop_face, masked_crop
from inversefacenet.v1 import reconstruction_pb2

COUNT = 200


@pytest.fixture(scope="module")
def faces():
    return list(rendered_faces(COUNT, seed=7))


@pytest.fixture(scope="module")
def answers(faces, tmp_path_factory):
    """What the service answers, all sent at the same moment: crops over REST, photos over gRPC in turn."""
    requests = []
    for number, face in enumerate(faces):
        if number % 2 == 0:
            requests.append(rest_photo(str(number), image_file(face.crop), {"input": "crop"}))
            continue
        message = reconstruction_pb2.ReconstructRequest(content=image_file(face.photo, "BMP"))
        message.landmarks.add(points=face.landmarks.ravel())
        requests.append(Request(str(number), "grpc", RECONSTRUCT, message.SerializeToString()))
    room = 2 * COUNT
    with GatewayServer(
        tmp_path_factory.mktemp("many"), queue=room, uploads=room, request_timeout=120, threads=1
    ) as server:
        client = Client()
        try:
            plan = Plan(
                tuple(requests),
                seconds=120.0,
                callers=COUNT,
                count=COUNT,
                rest=server.rest,
                grpc=server.grpc,
                keep=True,
            )
            return {int(sample.name): sample for sample in client.run(plan).samples}
        finally:
            client.close()


@pytest.fixture(scope="module")
def expected(faces):
    """What the library makes of the same photos."""
    crops = [
        crop_face(face.photo, face.landmarks) if number % 2 else masked_crop(face.crop)
        for number, face in enumerate(faces)
    ]
    backend = OnnxBackend("reference", threads=1)  # as the load benchmark's gateway runs it
    images = np.stack([crop.image for crop in crops])
    return np.concatenate([backend.infer(images[first : first + 20]) for first in range(0, COUNT, 20)])


def test_the_photos_differ_by_far_more_than_the_tolerance(expected):
    distances = np.abs(expected[:, None] - expected[None]).max(axis=2)
    assert distances[~np.eye(COUNT, dtype=bool)].min() > 0.01


def test_each_photo_gets_its_own_face_back(answers, expected):
    assert {number: sample.code for number, sample in answers.items()} == dict.fromkeys(range(COUNT), "ok")
    found = [
        parameters_of("grpc" if number % 2 else "rest", answers[number].content) for number in range(COUNT)
    ]
    np.testing.assert_allclose(np.array(found), expected, rtol=0, atol=1e-4)


def test_they_were_under_way_together(answers):
    """The last was sent before the first was answered."""
    last = max(sample.began for sample in answers.values())
    first = min(sample.began + sample.seconds for sample in answers.values())
    assert last < first

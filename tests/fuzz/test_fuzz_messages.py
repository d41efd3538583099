"""Damaged requests around sound photos: gRPC messages, forms, JSON, headers, and bytes that are no HTTP."""

import base64
import json
import random
import socket
from contextlib import suppress

import msgpack
import numpy as np
import pytest
from fuzz_inputs import Mutator

from benchmarks.load.faces import image_file, rendered_faces
from benchmarks.load.requests import RECONSTRUCT, RECONSTRUCT_STREAM, RENDER, Request
from inversefacenet.v1 import output_pb2, reconstruction_pb2, rendering_pb2

LIST_MODELS = "/inversefacenet.v1.ModelService/ListModels"
GET_MODEL = "/inversefacenet.v1.ModelService/GetModel"
BOUNDARY = "dividing-line"
DEEP = 20_000


@pytest.fixture(scope="module")
def face():
    (face,) = rendered_faces(1, seed=5)
    return face


@pytest.fixture(scope="module")
def crop(face):
    return image_file(face.crop, "WEBP")


def photo_requests(face, crop):
    """Return sound gRPC requests for photos, one for each kind of field."""
    points = face.landmarks.ravel().tolist()
    landmarks = [reconstruction_pb2.Landmarks68(points=points)]
    make = reconstruction_pb2.ReconstructRequest
    photo = image_file(face.photo, "JPEG")
    return [
        make(content=crop, crop=True),
        make(content=photo, landmarks=landmarks),
        make(content=photo, landmarks=landmarks, parts=[3, 4, 5, 6], picture_size=64, faces=2),
        make(content=crop, crop=True, parts=[3], mesh=output_pb2.MeshOptions(format=3, space=2, colours=2)),
        make(content=photo, landmarks=landmarks, minimum_size=30.0),
    ]


def render_requests():
    """Return sound requests to draw a face."""
    rng = np.random.default_rng(2)
    vector = rng.normal(size=350).astype(np.float32).tolist()
    request = rendering_pb2.RenderRequest(picture_size=64, background=output_pb2.Colour(red=9))
    request.parameters.rotation.extend([0.1, 0.2, 0.3])
    return [
        request,
        rendering_pb2.RenderRequest(vector={"values": vector}, picture_size=64, transparent=True),
        rendering_pb2.RenderRequest(output=2, geometry=True),
    ]


def test_the_sound_requests_are_answered(fuzzer, face, crop):
    """What is damaged below would be answered."""
    messages = [*photo_requests(face, crop), *render_requests()]
    methods = [RECONSTRUCT] * len(photo_requests(face, crop)) + [RENDER] * len(render_requests())
    requests = [
        Request(f"message {number}", "grpc", method, message.SerializeToString())
        for number, (method, message) in enumerate(zip(methods, messages, strict=True))
    ]
    for number, (path, body) in enumerate(json_bodies(face, crop)):
        requests.append(post(f"json {number}", path, json.dumps(body).encode(), "application/json"))
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    for number, (path, content) in enumerate(forms(crop)):
        requests.append(post(f"form {number}", path, content, kind))
    assert fuzzer.send(requests) == {}
    assert set(fuzzer.codes) == {"ok"}


def test_mutated_messages(fuzzer, face, crop, cases, seed):
    sound = [(RECONSTRUCT, message.SerializeToString()) for message in photo_requests(face, crop)]
    sound += [(RENDER, message.SerializeToString()) for message in render_requests()]
    sound += [(GET_MODEL, b"\n\x0einversefacenet"), (LIST_MODELS, b"")]
    contents = [content for _, content in sound]
    mutator = Mutator(seed + 1)
    requests = []
    for number in range(cases // 5):
        method, content = sound[number % len(sound)]
        how, content = mutator.mutate(content, contents)
        requests.append(Request(f"{number:05d} {method} {how}", "grpc", method, content))
    assert fuzzer.send(requests) == {}
    assert {"ok", "invalid-input"} <= set(fuzzer.codes)


def test_messages_of_odd_values(fuzzer, crop, cases, seed):
    """Messages that can be read, but whose fields hold what nobody should send."""
    chance = random.Random(seed + 2)
    requests = [odd_photo(chance, crop, number) for number in range(cases // 10)]
    requests += [odd_rendering(chance, number) for number in range(cases // 10)]
    assert fuzzer.send(requests) == {}
    assert {"ok", "invalid-request"} <= set(fuzzer.codes)


def odd_photo(chance, crop, number):
    message = reconstruction_pb2.ReconstructRequest(content=crop, crop=chance.random() < 0.7)
    message.faces = chance.choice((0, 0, 1, 2, 3, -1, 2**31 - 1))
    if chance.random() < 0.3:
        message.minimum_size = odd_number(chance)
    if chance.random() < 0.3:
        message.picture_size = chance.choice((0, 1, 16, 64, 2048, 2049, 2**32 - 1))
    if chance.random() < 0.3:
        message.parts.extend(chance.choices((0, 1, 2, 3, 4, 5, 6, 7, 99, -1), k=chance.choice((1, 5, 300))))
    if chance.random() < 0.3:
        message.mesh.format = chance.choice((0, 1, 2, 3, 4, -5))
        message.mesh.space = chance.choice((0, 1, 2, 9))
    for _ in range(chance.choice((0, 0, 0, 1, 2, 50))):
        count = chance.choice((136, 136, 0, 1, 135, 5000))
        message.landmarks.add(points=[odd_number(chance) for _ in range(count)])
    if chance.random() < 0.1:
        message.url = chance.choice(
            ("", "https://127.0.0.1/", "file:///etc/passwd", "x" * 5000, "https://\0")
        )
    return Request(f"odd photo {number}", "grpc", RECONSTRUCT, message.SerializeToString())


def odd_rendering(chance, number):
    message = rendering_pb2.RenderRequest(output=chance.choice((0, 1, 2, 7)))
    message.picture_size = chance.choice((0, 1, 16, 64, 300, 2049))
    if chance.random() < 0.5:
        count = chance.choice((350, 350, 350, 0, 349, 4000))
        message.vector.values.extend(odd_number(chance) for _ in range(count))
    else:
        for name, count in (("rotation", 3), ("shape", 128), ("illumination", 27), ("expression", 64)):
            if chance.random() < 0.5:
                getattr(message.parameters, name).extend(odd_number(chance) for _ in range(count))
    message.background.red = chance.choice((0, 255, 256, 2**32 - 1))
    return Request(f"odd rendering {number}", "grpc", RENDER, message.SerializeToString())


def odd_number(chance):
    usual = chance.uniform(-3, 3)
    rare = (0.0, -1.0, 1e-30, 1e6, 1e20, 3e38, float("inf"), float("-inf"), float("nan"))
    return usual if chance.random() < 0.98 else chance.choice(rare)


def test_mutated_streams(fuzzer, crop, cases, seed):
    """One bad message ends nothing but itself, or the stream with a clear code."""
    mutator = Mutator(seed + 3)
    request = reconstruction_pb2.ReconstructRequest(content=crop, crop=True)
    sound = reconstruction_pb2.ReconstructStreamRequest(id="a", request=request).SerializeToString()
    requests = []
    for number in range(cases // 50):
        bad = [mutator.mutate(sound, [sound])[1] for _ in range(2)]
        requests.append(Request(f"stream {number}", "grpc", RECONSTRUCT_STREAM, stream=(sound, *bad, sound)))
    assert fuzzer.send(requests) == {}


def post(name, path, body, content_type, **headers):
    fields = {
        "content-type": content_type,
        **{key.replace("_", "-"): value for key, value in headers.items()},
    }
    return Request(name, "rest", path, body, tuple(fields.items()))


def form(fields, photos):
    """Return a form's bytes."""
    parts = [f'; name="{name}"\r\n\r\n'.encode() + value for name, value in fields]
    parts += [
        b'; name="photo"; filename="a.webp"\r\nContent-Type: image/webp\r\n\r\n' + one for one in photos
    ]
    begin = f"--{BOUNDARY}\r\nContent-Disposition: form-data".encode()
    return b"".join(begin + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def forms(crop):
    """Return sound forms, each with its path."""
    fields = [("input", b"crop"), ("return", b"mesh,contours"), ("faces", b"all")]
    return [
        ("/v1/reconstructions", form(fields, [crop])),
        ("/v1/reconstructions", form(fields[:1], [crop])),
        ("/v1/reconstructions/batch", form(fields[:1], [crop, crop])),
    ]


def test_mutated_forms(fuzzer, crop, cases, seed):
    mutator = Mutator(seed + 4)
    sound = forms(crop)
    contents = [content for _, content in sound]
    # The photo is most of a form; what stands around it is what is damaged in every second one.
    bare = form([("input", b"crop"), ("landmarks", b"[]"), ("return", b"mesh")], [b"photo"])
    requests = []
    for number in range(cases // 10):
        path, content = sound[number // 2 % len(sound)]
        how, content = mutator.mutate(bare if number % 2 else content, contents)
        boundary = mutator.random.choice((BOUNDARY, BOUNDARY, BOUNDARY, "", "x" * 300, '"', "other"))
        kind = f"multipart/form-data; boundary={boundary}"
        requests.append(post(f"form {number} {how}", path, content, kind))
    assert fuzzer.send(requests) == {}
    assert {"ok", "invalid-input"} <= set(fuzzer.codes)


def json_bodies(face, crop):
    """Return sound JSON bodies, by path."""
    photo = {"base64": base64.b64encode(crop).decode()}
    points = face.landmarks.tolist()
    return [
        ("/v1/reconstructions", {"photo": photo, "crop": True}),
        ("/v1/reconstructions", {"photo": photo, "landmarks": [points], "return": ["mesh"]}),
        ("/v1/reconstructions/batch", {"photos": [{"photo": photo, "crop": True}] * 2}),
        ("/v1/renderings", {"parameters": {"vector": [0.0] * 350}, "size": 64}),
        ("/v1/renderings", {"parameters": {"rotation": [0.1, 0.2, 0.3]}, "background": [1, 2, 3]}),
        (
            "/v1/edits",
            {
                "photo": photo,
                "landmarks": [points],
                "edits": [
                    {"edit": "relight", "direction": [1, 2, 3], "ambient": 0.5},
                    {"edit": "expression", "units": {"jawOpen": 0.5}},
                    {"edit": "mix", "from": "other", "shape": 0.5, "pose": 1},
                ],
                "others": {"other": {"parameters": {"shape": [1.0] * 128}}},
            },
        ),
    ]


def test_mutated_json(fuzzer, face, crop, cases, seed):
    chance, mutator = random.Random(seed + 5), Mutator(seed + 6)
    sound = json_bodies(face, crop)
    contents = [json.dumps(body).encode() for _, body in sound]
    requests = []
    for number in range(cases // 5):
        path, body = sound[number % len(sound)]
        if number % 2:
            how, content = mutator.mutate(json.dumps(body).encode(), contents)
        else:
            how, content = "values", json.dumps(odd_json(chance, body)).encode()
        requests.append(post(f"json {number} {how}", path, content, "application/json"))
    assert fuzzer.send(requests) == {}
    assert {"ok", "invalid-request"} <= set(fuzzer.codes)


def odd_json(chance, value):
    """Return a value with some of its parts replaced by something else."""
    if chance.random() < 0.05:
        return chance.choice(
            (None, True, -1, 0, 1e308, 10**40, "", "\0", "\ud800", [], {}, [[]], {"": None}, "A" * 10_000)
        )
    if isinstance(value, dict):
        items = {key: odd_json(chance, one) for key, one in value.items()}
        return {**items, "more": 1} if chance.random() < 0.05 else items
    if isinstance(value, list) and len(value) < 100:
        return [odd_json(chance, one) for one in value]
    return value


def test_bodies_that_are_traps(fuzzer, crop):
    deep = b"[" * DEEP + b"]" * DEEP
    wide = json.dumps({"photo": {"base64": ""}, "landmarks": [[[0, 0]] * 68] * 500}).encode()
    huge = b'{"photo":{"base64":"' + b"A" * 5_000_000 + b'"}}'
    number = b'{"size": ' + b"9" * 100_000 + b"}"
    packed = msgpack.packb({"photo": crop})
    many = form([(f"field{number}", b"x") for number in range(5000)], [crop])
    photos = form([], [crop] * 500)
    requests = []
    for path in ("/v1/reconstructions", "/v1/reconstructions/batch", "/v1/renderings", "/v1/edits"):
        for name, body in (("deep", deep), ("wide", wide), ("huge", huge), ("number", number)):
            requests.append(post(f"{name} {path}", path, body, "application/json"))
        requests.append(post(f"nan {path}", path, b'{"size": NaN, "photo": Infinity}', "application/json"))
        requests.append(post(f"utf-16 {path}", path, '{"a": 1}'.encode("utf-16"), "application/json"))
        requests.append(post(f"msgpack {path}", path, packed, "application/msgpack"))
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        requests.append(post(f"many fields {path}", path, many, kind))
        requests.append(post(f"many photos {path}", path, photos, kind))
        requests.append(post(f"gzip {path}", path, b"\x1f\x8b", "application/json", content_encoding="gzip"))
    assert fuzzer.send(requests) == {}


def test_odd_headers_and_queries(fuzzer, crop, cases, seed):
    chance = random.Random(seed + 7)
    odd = (
        "",
        "0",
        "-1",
        "nan",
        "inf",
        "1e400",
        "5",
        "*",
        "*/*;q=2",
        ";;;",
        "a" * 3000,
        "\xe9",
        "all,,mesh",
        "%00",
    )
    names = ("faces", "return", "size", "minimum_size", "mesh_format", "input", "landmarks", "nothing")
    requests = []
    for number in range(cases // 10):
        query = "&".join(f"{chance.choice(names)}={percent(chance.choice(odd))}" for _ in range(2))
        headers = {
            "accept": chance.choice((*odd, "image/png", "application/json;q=0.5, model/*")),
            "x_request_timeout": chance.choice((*odd, "20", "20", "20")),
            "x_request_id": chance.choice(odd),
            "authorization": chance.choice(odd),
        }
        path = f"/v1/reconstructions?input=crop&{query}"
        kind = chance.choice(("image/webp", "image/webp", "image/webp", *odd))
        requests.append(post(f"headers {number}", path, crop, kind, **headers))
    wrong = fuzzer.send(requests)
    # Some ask for an answer within no time at all.
    assert {name: code for name, code in wrong.items() if code != "deadline-exceeded"} == {}


def percent(text):
    return "".join(f"%{byte:02x}" for byte in text.encode())


def test_bytes_that_are_no_http(fuzzer, cases, seed, tally):
    """Such a connection is answered with 400 or closed, and the next one is served."""
    chance, mutator = random.Random(seed + 8), Mutator(seed + 9)
    sound = b"POST /v1/reconstructions HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"
    host, _, port = fuzzer.gateway.rest.rpartition(":")
    for _ in range(cases // 20):
        content = mutator.mutate(sound, [sound])[1] if chance.random() < 0.8 else chance.randbytes(200)
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(content)
            # Nothing more will come: whoever waits for the rest of a request learns that it ended.
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            with suppress(OSError):
                answer = connection.recv(65536)
        tally["cases"] += 1
        if answer.startswith(b"HTTP/1.1 5"):
            tally["failures"] += 1
        assert not answer.startswith(b"HTTP/1.1 5"), content
    fuzzer.check()

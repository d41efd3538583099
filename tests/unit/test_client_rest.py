"""What a client sends over HTTP, and what it makes of the answers."""

import email
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import msgpack
import numpy as np
import pytest
from client_support import KINDS, LANDMARKS, MODEL, Replies, answer, ask, problem, theta, tree

from inversefacenet.client import (
    Client,
    ConnectionSettingsError,
    File,
    ServerError,
    ServiceUnavailableError,
    UnexpectedAnswerError,
)
from inversefacenet.client.errors import _classes
from inversefacenet.errors import (
    ImageError,
    InputError,
    InverseFaceNetError,
    LandmarkError,
    MissingDependencyError,
    NoFaceError,
    ParameterError,
)

PHOTO = b"\x89PNG photo"


def sent(*arguments, what="reconstruct", reply=None, kind="sync", **options):
    """Return what a call sends."""
    replies = Replies(reply or answer())
    ask(kind, what, *arguments, transport=replies.transport, **options)
    return replies.requests[0]


def form_of(request):
    """Return the fields of a form."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + request.content).get_payload()
    name = re.compile(r'name="(\w+)"')
    return [(name.search(part["Content-Disposition"])[1], part.get_payload(decode=True)) for part in parts]


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_is_sent_as_it_is(kind):
    request = sent(PHOTO, kind=kind)
    assert (request.method, request.url.path, request.url.query) == ("POST", "/v1/reconstructions", b"")
    assert request.content == PHOTO
    assert request.headers["content-type"] == "application/octet-stream"
    assert request.headers["accept"].startswith("application/msgpack, ")
    assert "authorization" not in request.headers


def test_a_file_is_read(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(PHOTO)
    for kind in KINDS:
        assert sent(path, kind=kind).content == PHOTO
    with pytest.raises(ImageError, match=r"missing\.jpg: can't be read: No such file"):
        sent(tmp_path / "missing.jpg")


def test_options_travel_in_the_address():
    request = sent(
        PHOTO,
        faces="all",
        minimum_size=40.0,
        crop=True,
        parts=["mesh", "overlay", "mesh"],
        mesh_format="ply",
        mesh_space="camera",
        mesh_colours="shaded",
        size=96,
    )
    assert dict(request.url.params) == {
        "faces": "all",
        "minimum_size": "40.0",
        "input": "crop",
        "return": "mesh,overlay",
        "mesh_format": "ply",
        "mesh_space": "camera",
        "mesh_colours": "shaded",
        "size": "96",
    }


@pytest.mark.parametrize("landmarks", [LANDMARKS, LANDMARKS[None], [LANDMARKS]])
def test_landmarks_travel_in_a_form(landmarks):
    request = sent(PHOTO, landmarks=landmarks, crop=True, parts=["mesh"])
    fields = dict(form_of(request))
    assert fields["photo"] == PHOTO
    assert json.loads(fields["landmarks"]) == [LANDMARKS.tolist()]
    assert fields["input"] == b"crop"
    assert dict(request.url.params) == {"return": "mesh"}


def test_an_address_travels_in_json():
    request = sent("https://photos.example/a.jpg", parts=["mesh"], landmarks=LANDMARKS, size=64)
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.content) == {
        "photo": {"url": "https://photos.example/a.jpg"},
        "crop": False,
        "landmarks": [LANDMARKS.tolist()],
        "return": ["mesh"],
        "size": 64,
    }


@pytest.mark.parametrize(
    ("photo", "options", "error", "hint"),
    [
        ("photo.jpg", {}, InputError, "pathlib.Path"),
        (PHOTO, {"mesh_colors": "shaded"}, InputError, "no option 'mesh_colors'"),
        (PHOTO, {"face": "all"}, InputError, "there is crop, faces, landmarks, mesh_colours, mesh_format"),
        (PHOTO, {"faces": "some"}, InputError, "largest, all"),
        (PHOTO, {"parts": "mesh"}, InputError, "several names"),
        (PHOTO, {"parts": ["nose"]}, InputError, "'nose'"),
        (PHOTO, {"mesh_format": "stl"}, InputError, "glb, obj, ply"),
        (PHOTO, {"mesh_space": "moon"}, InputError, "model, camera"),
        (PHOTO, {"mesh_colours": "red"}, InputError, "reflectance, shaded"),
        (PHOTO, {"landmarks": np.zeros((67, 2), np.float32)}, LandmarkError, "(67, 2)"),
        (PHOTO, {"landmarks": np.full((68, 2), np.nan, np.float32)}, LandmarkError, "finite"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(photo, options, error, hint):
    replies = Replies(answer())
    with pytest.raises(error) as caught:
        ask("sync", "reconstruct", photo, transport=replies.transport, **options)
    assert hint in str(caught.value)
    assert replies.requests == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [True, False], ids=["msgpack", "json"])
def test_an_answer_becomes_a_typed_result(kind, packed):
    replies = Replies(answer(packed=packed))
    result = ask(kind, "reconstruct", PHOTO, transport=replies.transport)
    assert (result.id, result.request_id, result.width, result.height) == ("r1", "q1", 640, 480)
    assert (result.model.backend, result.model.face_model.digest) == ("onnxruntime", "cd" * 32)
    assert result.timings_ms == {"decode": 1.5}
    assert result.truncated is False
    assert result.overlay == File(b"over", "image/png")
    (face,) = result.faces
    assert (face.box, face.score) == ((1.0, 2.0, 3.0, 4.0), 1.5)
    np.testing.assert_array_equal(face.parameters.vector(), theta().vector())
    np.testing.assert_array_equal(face.landmarks, LANDMARKS)
    assert (face.placement.scale, face.placement.crop_offset) == (2.0, (6.0, 7.0))
    assert (face.quality.iou, face.quality.nme) == (0.9, 0.1)
    assert (face.quality.confidence, face.quality.verdict) == (0.6, "doubtful")
    assert result.model.confidence_calibrated is True
    assert face.mesh == File(b"glTF", "model/gltf-binary")
    assert face.rendering == File(b"\x89PNG", "image/png")
    assert face.contours is None
    assert "glTF" not in repr(result)


def test_what_nobody_knows_is_none():
    bare = tree()
    face = bare["faces"][0]
    for name in ("score", "landmarks68", "mesh", "pictures"):
        del face[name]
    for name in ("landmark", "nme", "confidence", "verdict"):
        del face["quality"][name]
    del bare["overlay"], bare["model"]["confidence_calibrated"]
    result = ask("sync", "reconstruct", PHOTO, transport=Replies(answer(bare)).transport)
    (face,) = result.faces
    assert (face.score, face.landmarks, face.mesh, face.rendering) == (None, None, None, None)
    assert (face.quality.landmark, face.quality.nme, result.overlay) == (None, None, None)
    assert (face.quality.confidence, face.quality.verdict) == (None, None)
    assert result.model.confidence_calibrated is False


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, content=b"{", headers={"Content-Type": "application/json"}),
        httpx.Response(200, content=b"\xc1", headers={"Content-Type": "application/msgpack"}),
        httpx.Response(200, content=b"[1]", headers={"Content-Type": "application/json"}),
        httpx.Response(307, headers={"Location": "http://elsewhere.example"}),
        answer({"faces": []}),
        answer({**tree(), "faces": []}),
        answer({**tree(), "faces": [{}]}),
        answer({**tree(), "faces": 7}),
        answer({**tree(), "model": None}),
        answer({**tree(), "overlay": {"base64": "*", "media_type": "image/png"}}),
    ],
)
def test_what_is_no_answer_is_one_clear_error(reply):
    replies = Replies(reply)
    with pytest.raises(UnexpectedAnswerError):
        ask("sync", "reconstruct", PHOTO, transport=replies.transport, client={"api_key": "k"})
    assert len(replies.requests) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_problems_become_the_errors_of_the_library(kind):
    replies = Replies(problem(422, "no-face", "No face was found."))
    with pytest.raises(NoFaceError) as caught:
        ask(kind, "reconstruct", PHOTO, transport=replies.transport)
    cause = caught.value.__cause__
    assert isinstance(cause, ServerError)
    assert (cause.code, cause.status, cause.request_id, cause.retry_after) == ("no-face", 422, "q1", None)
    assert (str(caught.value), caught.value.__notes__) == ("No face was found.", ["request id q1"])


def test_problems_that_the_library_has_no_class_for():
    replies = Replies(problem(401, "unauthenticated", "Send a key."))
    with pytest.raises(ServerError) as caught:
        ask("sync", "reconstruct", PHOTO, transport=replies.transport)
    assert str(caught.value) == "Send a key. (request q1)"
    assert isinstance(caught.value, InverseFaceNetError)
    replies = Replies(httpx.Response(418, text="teapot", headers={"X-Request-ID": "q9"}))
    with pytest.raises(ServerError) as caught:
        ask("sync", "reconstruct", PHOTO, transport=replies.transport)
    assert (caught.value.code, caught.value.status, caught.value.request_id) == ("http-418", 418, "q9")


@pytest.mark.parametrize("kind", KINDS)
def test_render(kind):
    png = httpx.Response(200, content=b"\x89PNG", headers={"Content-Type": "image/png"})
    replies = Replies(png)
    assert ask(kind, "render", theta(), transport=replies.transport, background=None, size=32) == b"\x89PNG"
    (request,) = replies.requests
    assert request.headers["accept"] == "image/png"
    body = json.loads(request.content)
    assert body.pop("parameters") == theta().to_dict()
    assert body == {"geometry": False, "background": "transparent", "size": 32}
    ply = httpx.Response(200, content=b"ply", headers={"Content-Type": "application/ply"})
    replies = Replies(ply)
    vector = theta().vector()
    assert ask(kind, "render", vector, transport=replies.transport, mesh_format="ply") == b"ply"
    assert replies.requests[0].headers["accept"] == "application/ply"
    with pytest.raises(UnexpectedAnswerError, match="image/png"):
        ask(kind, "render", vector, transport=replies.transport)


def test_a_face_that_cannot_be_drawn():
    with pytest.raises(InputError, match="0 to 255"):
        ask("sync", "render", theta(), transport=Replies(answer()).transport, background=(0, 0, 256))
    with pytest.raises(ParameterError):
        ask("sync", "render", np.full(350, np.nan, np.float32), transport=Replies(answer()).transport)


@pytest.mark.parametrize("kind", KINDS)
def test_models(kind):
    (model,) = ask(kind, "models", transport=Replies(answer({"models": [MODEL]})).transport)
    assert (model.name, model.version, model.digest) == ("inversefacenet", "1", "ab" * 32)
    with pytest.raises(UnexpectedAnswerError):
        ask(kind, "models", transport=Replies(answer({})).transport)


def test_an_address_may_have_a_path():
    replies = Replies(answer({"models": []}))
    ask("sync", "models", transport=replies.transport, server="https://faces.example/api/")
    assert str(replies.requests[0].url) == "https://faces.example/api/v1/models"


def batch(request):
    """Answer a batch: a photo that is b"none" shows no face, b"busy" is refused the first time."""
    if request.url.path == "/v1/reconstructions":
        if request.content == b"large":
            return answer({**tree(), "id": "large"})
        return answer({**tree(), "id": f"alone {request.content.decode()}"})
    photos = [content for name, content in form_of(request) if name == "photo"]
    if b"large" in photos:
        return problem(413, "body-too-large")
    results = []
    for index, photo in enumerate(photos):
        if photo == b"none":
            results.append({"index": index, "status": 422, "problem": {"code": "no-face", "detail": "None."}})
        elif photo == b"busy":
            results.append({"index": index, "status": 503, "problem": {"code": "backend-unavailable"}})
        else:
            one = {**tree(packed=True), "id": photo.decode()}
            results.append({"index": index, "status": 200, "reconstruction": one})
    body = msgpack.packb({"results": results})
    return httpx.Response(
        200, content=body, headers={"Content-Type": "application/msgpack", "X-Request-ID": "b1"}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_many_photos_go_a_few_in_a_request(kind):
    replies = Replies(batch)
    photos = [b"a", b"none", b"c", Path("/nowhere/x.jpg"), b"e", b"busy", b"large", b"h", b"i"]
    found = ask(kind, "reconstruct_many", photos, transport=replies.transport, in_flight=8)
    outcomes = dict(found)
    assert sorted(outcomes) == list(range(9))
    assert len(found) == 9
    names = {index: getattr(one, "id", type(one).__name__) for index, one in outcomes.items()}
    assert names == {
        0: "a",
        1: "NoFaceError",
        2: "c",
        3: "ImageError",
        # Together with a photo that is too large these were refused; alone they weren't.
        4: "alone e",
        5: "alone busy",
        6: "large",
        7: "alone h",
        8: "alone i",
    }
    paths = [request.url.path for request in replies.requests]
    assert paths.count("/v1/reconstructions/batch") == 2
    assert outcomes[0].request_id == "b1"


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_of_many_that_the_service_could_not_take_is_sent_again(kind):
    replies = Replies(batch)
    found = dict(ask(kind, "reconstruct_many", [b"a", b"busy"], transport=replies.transport))
    assert (found[0].id, found[1].id) == ("a", "alone busy")


def test_options_of_many_photos():
    replies = Replies(batch)
    ask("sync", "reconstruct_many", [b"a", b"b"], transport=replies.transport, crop=True, parts=["mesh"])
    assert dict(replies.requests[0].url.params) == {"input": "crop", "return": "mesh"}
    replies = Replies(answer({"results": []}))
    photos = ["https://photos.example/a.jpg", b"b"]
    found = dict(ask("sync", "reconstruct_many", photos, transport=replies.transport, size=64))
    body = json.loads(replies.requests[0].content)
    assert [list(one["photo"]) for one in body["photos"]] == [["url"], ["base64"]]
    assert body["size"] == 64
    assert [type(found[index]) for index in (0, 1)] == [UnexpectedAnswerError] * 2


def test_a_batch_that_makes_no_sense():
    replies = Replies(answer({"results": [7, {"status": "odd"}, {"reconstruction": {}}, {"problem": 7}]}))
    found = ask("sync", "reconstruct_many", [b"a"] * 4, transport=replies.transport)
    kinds = [type(outcome).__name__ for _, outcome in sorted(found)]
    assert kinds == ["UnexpectedAnswerError", "ServerError", "UnexpectedAnswerError", "ServerError"]


@pytest.mark.parametrize("kind", KINDS)
def test_at_least_one_photo_must_be_on_its_way(kind):
    with pytest.raises(InputError, match="in_flight"):
        ask(kind, "reconstruct_many", [b"a"], transport=Replies(answer()).transport, in_flight=0)
    found = ask(kind, "reconstruct_many", [b"a", b"b"], transport=Replies(answer()).transport, in_flight=1)
    assert [index for index, _ in found] == [0, 1]
    assert ask(kind, "reconstruct_many", [], transport=Replies(answer()).transport) == []


def test_a_newer_server_may_say_more():
    more = {**tree(), "new": 1}
    more["faces"][0]["quality"]["new"] = 1.0
    more["faces"][0]["new"] = {}
    assert ask("sync", "reconstruct", PHOTO, transport=Replies(answer(more)).transport).faces


@pytest.mark.parametrize("kind", KINDS)
def test_large_photos_do_not_share_a_request(kind):
    sizes = []

    def reply(request):
        sizes.append(len(request.content))
        return answer()

    photos = [bytes(5_000_000)] * 3
    found = ask(kind, "reconstruct_many", photos, transport=httpx.MockTransport(reply))
    assert [type(outcome).__name__ for _, outcome in found] == ["ReconstructionResult"] * 3
    assert sizes == [5_000_000] * 3


def test_msgpack_is_not_asked_for_where_it_is_not_installed(monkeypatch):
    import inversefacenet.client.rest_requests as requests

    monkeypatch.setattr(requests, "find_spec", lambda name: None)
    assert sent(PHOTO).headers["accept"] == "application/json"


@pytest.mark.parametrize(
    ("server", "package", "extra"),
    [("http://localhost", "httpx", "client"), ("grpc://localhost:1", "grpc", "grpc")],
)
def test_a_package_that_is_missing_is_named_with_its_extra(server, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install .*\[{extra}\]"):
        Client(server)


def test_a_closed_client_says_so():
    client = Client("http://localhost")
    client.close()
    for call in (lambda: client.reconstruct(PHOTO), client.models, lambda: client.reconstruct_many([PHOTO])):
        with pytest.raises(ServiceUnavailableError, match="closed"):
            call()


def test_importing_the_client_loads_nothing_that_it_may_not_need():
    code = "import sys, inversefacenet.client; print(*{name.split('.')[0] for name in sys.modules})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "httpx",
        "grpc",
        "google",
        "msgpack",
        "numba",
        "PIL",
        "dlib",
        "onnxruntime",
        "trimesh",
        "pydantic",
    }
    assert not set(answer.stdout.split()) & heavy


def test_errors_of_the_client_belong_to_the_tree():
    kinds = [ConnectionSettingsError, ServerError, ServiceUnavailableError, UnexpectedAnswerError]
    known = {kind.slug for kind in _classes().values()}
    assert len({kind.slug for kind in kinds} | known) == len(kinds) + len(known)
    assert "internal" not in known
    assert known >= {"no-face", "invalid-image", "deadline-exceeded", "backend-unavailable"}
    assert all(issubclass(kind, InverseFaceNetError) for kind in kinds)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_options_of_many_photos_are_refused_before_the_first_is_taken(kind):
    def photos():
        taken.append(PHOTO)
        yield PHOTO

    taken, replies = [], Replies(answer())
    with pytest.raises(InputError, match="no option 'colours', 'face': there is crop, faces, "):
        ask(kind, "reconstruct_many", photos(), transport=replies.transport, colours="shaded", face="all")
    assert (taken, replies.requests) == ([], [])


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_options_of_a_drawing_are_refused(kind):
    replies = Replies(answer())
    with pytest.raises(TypeError, match="mesh_colors"):
        ask(kind, "render", theta(), transport=replies.transport, mesh_colors="shaded")
    assert replies.requests == []

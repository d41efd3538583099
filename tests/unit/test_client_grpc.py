"""What a client sends over gRPC, and what it makes of the answers; the server is a stand-in."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from client_support import KINDS, LANDMARKS, Naps, ask, theta
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from inversefacenet.client import (
    AsyncClient,
    Client,
    ServerError,
    ServiceUnavailableError,
    UnexpectedAnswerError,
    retry,
)
from inversefacenet.client.grpc_errors import failure_of, failure_of_status
from inversefacenet.client.retry import RefusedError
from inversefacenet.errors import BackendError, DeadlineError, NoFaceError
from inversefacenet.parameters import GROUPS
from inversefacenet.v1 import (
    model_pb2,
    model_pb2_grpc,
    output_pb2,
    parameters_pb2,
    reconstruction_pb2,
    reconstruction_pb2_grpc,
    rendering_pb2,
    rendering_pb2_grpc,
)

KEY = "ifn_secret-7Hq"
SECONDS = 20


def status(code, reason, message="What is wrong.", retry_after=None):
    """An error as the service describes it."""
    details = [
        error_details_pb2.ErrorInfo(reason=reason, domain="inversefacenet"),
        error_details_pb2.RequestInfo(request_id="q1"),
    ]
    if retry_after is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromMilliseconds(round(1000 * retry_after))
        details.append(info)
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def response(name="r1", **changes):
    """A full answer."""
    groups = {group: getattr(theta(), group).ravel().tolist() for group in GROUPS}
    face = reconstruction_pb2.Face(
        box=reconstruction_pb2.Box(left=1, top=2, right=3, bottom=4),
        score=1.5,
        parameters=parameters_pb2.FaceParameters(**groups),
        placement=reconstruction_pb2.PhotoPlacement(
            camera_distance=700,
            scale=2,
            offset=reconstruction_pb2.Point(x=3, y=4),
            crop_scale=5,
            crop_offset=reconstruction_pb2.Point(x=6, y=7),
        ),
        quality=reconstruction_pb2.FaceQuality(
            photometric=10, iou=0.9, nme=0.1, confidence=0.3, verdict=reconstruction_pb2.VERDICT_FAILED
        ),
        landmarks68=LANDMARKS.ravel().tolist(),
        mesh=output_pb2.Mesh(media_type="model/gltf-binary", content=b"glTF"),
    )
    values = {
        "id": name,
        "model": model(),
        "image": reconstruction_pb2.ImageInfo(width=640, height=480),
        "faces": [face],
        "timings_ms": {"decode": 1.5},
        "overlay": output_pb2.Picture(media_type="image/png", content=b"over"),
    }
    return reconstruction_pb2.ReconstructResponse(**{**values, **changes})


def model():
    face_model = model_pb2.FaceModel(name="open", digest="cd" * 32)
    return model_pb2.Model(
        name="inversefacenet",
        version="1",
        digest="ab" * 32,
        backend="triton",
        face_model=face_model,
        confidence_calibrated=True,
    )


class Service(
    reconstruction_pb2_grpc.ReconstructionServiceServicer,
    rendering_pb2_grpc.RenderingServiceServicer,
    model_pb2_grpc.ModelServiceServicer,
    health_pb2_grpc.HealthServicer,
):
    """Answers calls one after the other as it was told, and keeps them."""

    def __init__(self):
        self.replies = [response()]
        self.streams = []
        self.requests = []
        self.metadata = []
        self.left = []
        self.serving = health_pb2.HealthCheckResponse.SERVING
        self.released = threading.Event()

    def _answer(self, request, context):
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.left.append(context.time_remaining())
        context.set_trailing_metadata([("x-request-id", "q1")])
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, status_pb2.Status):
            context.abort_with_status(rpc_status.to_status(reply))
        if isinstance(reply, grpc.StatusCode):
            context.abort(reply, "gone")
        return reply() if callable(reply) else reply

    def Reconstruct(self, request, context):  # noqa: N802
        return self._answer(request, context)

    def Render(self, request, context):  # noqa: N802
        return self._answer(request, context)

    def ListModels(self, request, context):  # noqa: N802
        return self._answer(request, context)

    def Check(self, request, context):  # noqa: N802
        return health_pb2.HealthCheckResponse(status=self.serving)

    def ReconstructStream(self, requests, context):  # noqa: N802
        context.send_initial_metadata([("x-request-id", "s1")])
        behave = self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]
        yield from behave(requests, context)


@pytest.fixture
def service():
    """A server on this machine."""
    servicer = Service()
    server = grpc.server(ThreadPoolExecutor(8))
    reconstruction_pb2_grpc.add_ReconstructionServiceServicer_to_server(servicer, server)
    rendering_pb2_grpc.add_RenderingServiceServicer_to_server(servicer, server)
    model_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    servicer.server = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    servicer.released.set()
    server.stop(None).wait(SECONDS)


@pytest.fixture
def naps(monkeypatch):
    """Nobody sleeps before a retry."""
    naps = Naps()
    monkeypatch.setattr(
        retry, "time", SimpleNamespace(monotonic=retry.time.monotonic, sleep=naps.sleep, time=retry.time.time)
    )
    monkeypatch.setattr(retry, "asyncio", SimpleNamespace(sleep=naps.sleep_async))
    monkeypatch.setattr(retry, "random", SimpleNamespace(random=lambda: 0.5))
    return naps


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_and_its_answer(kind, service):
    result = ask(
        kind,
        "reconstruct",
        b"photo",
        server=service.server,
        client={"api_key": KEY},
        timeout=9,
        faces="all",
        minimum_size=40.0,
        landmarks=LANDMARKS,
        crop=True,
        parts=["mesh", "overlay"],
        mesh_format="ply",
        mesh_space="camera",
        mesh_colours="shaded",
        size=96,
    )
    (request,) = service.requests
    assert request.content == b"photo"
    assert request.faces == reconstruction_pb2.FACE_CHOICE_ALL
    assert (request.minimum_size, request.picture_size, request.crop) == (40.0, 96, True)
    assert list(request.landmarks[0].points) == LANDMARKS.ravel().tolist()
    assert list(request.parts) == [output_pb2.PART_MESH, output_pb2.PART_OVERLAY]
    mesh = request.mesh
    assert (mesh.format, mesh.space, mesh.colours) == (
        output_pb2.MESH_FORMAT_PLY,
        output_pb2.MESH_SPACE_CAMERA,
        output_pb2.MESH_COLOURS_SHADED,
    )
    assert service.metadata[0]["authorization"] == f"Bearer {KEY}"
    assert 0 < service.left[0] <= 9.1  # the core rounds deadlines
    assert (result.id, result.request_id, result.width, result.height) == ("r1", "q1", 640, 480)
    assert (result.model.backend, result.model.face_model.name) == ("triton", "open")
    (face,) = result.faces
    np.testing.assert_array_equal(face.parameters.vector(), theta().vector())
    np.testing.assert_array_equal(face.landmarks, LANDMARKS)
    assert (face.box, face.score) == ((1, 2, 3, 4), 1.5)
    assert (face.placement.offset, face.placement.crop_offset) == ((3, 4), (6, 7))
    assert (face.quality.iou, face.quality.nme, face.quality.landmark) == (0.9, 0.1, None)
    assert (face.quality.confidence, face.quality.verdict) == (0.3, "failed")
    assert result.model.confidence_calibrated is True
    assert (face.mesh.content, face.mesh.media_type) == (b"glTF", "model/gltf-binary")
    assert (face.rendering, face.contours, result.overlay.content) == (None, None, b"over")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_out_is_left_to_the_server(kind, service):
    ask(kind, "reconstruct", "https://photos.example/a.jpg", server=service.server)
    (request,) = service.requests
    assert request.WhichOneof("photo") == "url"
    assert request.minimum_size == 0
    assert not request.HasField("picture_size")
    assert (request.faces, list(request.parts), request.crop) == (0, [], False)
    assert "authorization" not in service.metadata[0]


@pytest.mark.parametrize("kind", KINDS)
def test_render(kind, service):
    picture = output_pb2.Picture(media_type="image/png", content=b"\x89PNG")
    service.replies = [rendering_pb2.RenderResponse(picture=picture)]
    found = ask(kind, "render", theta(), server=service.server, size=32, geometry=True, background=(1, 2, 3))
    assert found == b"\x89PNG"
    request = service.requests[0]
    assert list(request.parameters.rotation) == theta().rotation.tolist()
    assert (request.output, request.picture_size, request.geometry) == (1, 32, True)
    assert (request.background.red, request.background.blue, request.transparent) == (1, 3, False)
    service.replies = [rendering_pb2.RenderResponse(mesh=output_pb2.Mesh(content=b"ply"))]
    found = ask(kind, "render", theta(), server=service.server, mesh_format="ply", background=None)
    assert found == b"ply"
    assert (service.requests[1].output, service.requests[1].transparent) == (2, True)
    service.replies = [rendering_pb2.RenderResponse()]
    with pytest.raises(UnexpectedAnswerError):
        ask(kind, "render", theta(), server=service.server)


@pytest.mark.parametrize("kind", KINDS)
def test_models_and_readiness(kind, service):
    service.replies = [model_pb2.ListModelsResponse(models=[model()])]
    (found,) = ask(kind, "models", server=service.server)
    assert (found.name, found.version) == ("inversefacenet", "1")
    assert ask(kind, "ready", server=service.server) is True
    service.serving = health_pb2.HealthCheckResponse.NOT_SERVING
    assert ask(kind, "ready", server=service.server) is False
    assert ask(kind, "ready", server="grpc://127.0.0.1:1") is False


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("faces", [[], [reconstruction_pb2.Face()]])
def test_what_is_no_answer_is_one_clear_error(kind, faces, service):
    service.replies = [response(faces=faces)]
    with pytest.raises(UnexpectedAnswerError):
        ask(kind, "reconstruct", b"photo", server=service.server)


@pytest.mark.parametrize("kind", KINDS)
def test_problems_become_the_errors_of_the_library(kind, service, naps):
    service.replies = [status(grpc.StatusCode.NOT_FOUND, "no-face", "No face.")]
    with pytest.raises(NoFaceError) as caught:
        ask(kind, "reconstruct", b"photo", server=service.server)
    cause = caught.value.__cause__
    assert (cause.code, cause.status, cause.request_id, cause.retry_after) == ("no-face", 404, "q1", None)
    assert (str(caught.value), caught.value.__notes__) == ("No face.", ["request id q1"])
    service.replies = [status(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")]
    with pytest.raises(ServerError) as caught:
        ask(kind, "reconstruct", b"photo", server=service.server)
    assert (caught.value.code, caught.value.status) == ("unauthenticated", 401)
    service.replies = [grpc.StatusCode.RESOURCE_EXHAUSTED]
    with pytest.raises(ServerError) as caught:
        ask(kind, "reconstruct", b"photo", server=service.server)
    assert (caught.value.code, caught.value.status) == ("resource-exhausted", 429)
    assert naps.seconds == []
    assert len(service.requests) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "refusal",
    [
        status(grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded", retry_after=0.5),
        status(grpc.StatusCode.UNAVAILABLE, "backend-unavailable", retry_after=0.5),
    ],
    ids=["overloaded", "backend"],
)
def test_what_was_refused_is_sent_again(kind, refusal, service, naps):
    service.replies = [refusal, refusal, response()]
    assert ask(kind, "reconstruct", b"photo", server=service.server).id == "r1"
    assert naps.seconds == pytest.approx([0.525, 0.525])
    service.requests.clear()
    service.replies = [refusal]
    with pytest.raises((ServerError, BackendError)):
        ask(kind, "reconstruct", b"photo", server=service.server, client={"retries": 1})
    assert len(service.requests) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_cannot_be_reached(kind, naps):
    with pytest.raises(ServiceUnavailableError, match="can't be reached"):
        ask(kind, "reconstruct", b"photo", server="grpc://127.0.0.1:1", client={"retries": 2})
    assert len(naps.seconds) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_does_not_answer_in_time(kind, service):
    service.replies = [lambda: service.released.wait(SECONDS) and response()]
    with pytest.raises(DeadlineError, match="in time"):
        ask(kind, "reconstruct", b"photo", server=service.server, timeout=0.2)
    assert len(service.requests) == 1


def failure(code, words="words", free=False):
    return failure_of(code, words, (), free=free)


def test_failures_without_details():
    assert isinstance(failure("DEADLINE_EXCEEDED"), DeadlineError)
    assert isinstance(failure("UNAVAILABLE", "failed to connect to all addresses; refused"), RefusedError)
    assert isinstance(failure("UNAVAILABLE", free=True), RefusedError)
    # The server may have begun: it isn't asked again, and charges nothing twice.
    assert isinstance(failure("UNAVAILABLE", "Socket closed"), ServiceUnavailableError)
    assert isinstance(failure("CANCELLED"), ServiceUnavailableError)
    odd = failure_of("INTERNAL", "words", (("grpc-status-details-bin", b"\xff"),))
    assert (odd.code, odd.status, odd.detail) == ("internal", 500, "words")


def test_every_code_has_its_number_and_status():
    for code in grpc.StatusCode:
        if code is not grpc.StatusCode.OK:
            found = failure_of_status(status_pb2.Status(code=code.value[0], message="words"))
            found = found if isinstance(found, ServerError) else found.__cause__
            assert found.code == code.name.lower().replace("_", "-")
            assert 400 <= found.status < 600


def echo(requests, context):
    """Answer each photo with its own bytes; some with an error."""
    for index, request in enumerate(requests):
        answer = reconstruction_pb2.ReconstructStreamResponse(id=request.id, index=index)
        if request.request.content == b"none":
            answer.error.CopyFrom(status(grpc.StatusCode.NOT_FOUND, "no-face"))
        elif request.request.content == b"busy":
            answer.error.CopyFrom(
                status(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota-exceeded", retry_after=0.1)
            )
        else:
            answer.response.CopyFrom(response(request.request.content.decode()))
        yield answer


def outcomes(found):
    return {index: getattr(one, "id", type(one).__name__) for index, one in found}


@pytest.mark.parametrize("kind", KINDS)
def test_many_photos_share_a_stream(kind, service, naps, tmp_path):
    service.streams = [echo]
    photos = [b"a", b"none", tmp_path / "missing.png", b"busy", b"e"] + [b"f"] * 20
    found = ask(kind, "reconstruct_many", photos, server=service.server, in_flight=3)
    assert len(found) == len(photos)
    names = outcomes(found)
    # What the stream refused was sent again alone.
    assert [names[index] for index in range(5)] == ["a", "NoFaceError", "ImageError", "r1", "e"]
    assert all(names[index] == "f" for index in range(5, 25))
    assert [request.content for request in service.requests] == [b"busy"]
    assert dict(found)[0].request_id == "s1"


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_photos_are_on_their_way_than_allowed(kind, service):
    seen = []

    def hold(requests, context):
        for answer in echo(requests, context):
            seen.append(answer)
            yield answer

    service.streams = [hold]
    drawn = []

    def photos():
        for number in range(12):
            drawn.append(number)
            yield b"x"

    if kind == "sync":
        with Client(service.server) as client:
            for taken, _ in enumerate(client.reconstruct_many(photos(), in_flight=4)):
                assert len(drawn) <= taken + 5
    assert len(ask(kind, "reconstruct_many", photos(), server=service.server, in_flight=4)) == 12


def breaks(after, code):
    """A stream that ends with an error after so many answers."""

    def behave(requests, context):
        for number, answer in enumerate(echo(requests, context)):
            if number == after:
                if isinstance(code, status_pb2.Status):
                    context.abort_with_status(rpc_status.to_status(code))
                context.abort(code, "broken")
            yield answer

    return behave


DRAINING = status(grpc.StatusCode.UNAVAILABLE, "draining", retry_after=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_photos_of_a_stream_that_broke_are_sent_again(kind, service, naps):
    service.streams = [breaks(2, DRAINING), breaks(0, DRAINING), echo]
    found = ask(kind, "reconstruct_many", [b"a"] * 9, server=service.server, in_flight=3)
    names = outcomes(found)
    assert len(found) == len(names) == 9
    assert set(names.values()) == {"a", "r1"}
    assert list(names.values()).count("r1") == len(service.requests) >= 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_ends_early_loses_nothing(kind, service, naps):
    service.streams = [lambda requests, context: iter(()), echo]
    names = outcomes(ask(kind, "reconstruct_many", [b"a"] * 5, server=service.server, in_flight=2))
    assert len(names) == 5
    assert list(names.values()).count("r1") == len(service.requests) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_is_refused_for_good_answers_its_photos_so(kind, service, naps):
    denied = status(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
    service.streams = [breaks(0, denied)]
    service.replies = [denied]
    found = ask(kind, "reconstruct_many", [b"a"] * 3, server=service.server, in_flight=2)
    assert sorted(outcomes(found)) == [0, 1, 2]
    assert {one.code for _, one in found} == {"unauthenticated"}
    assert naps.seconds == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_hangs_is_left(kind, service):
    def hang(requests, context):
        yield next(echo(requests, context))
        service.released.wait(SECONDS)

    service.streams = [hang]
    found = ask(kind, "reconstruct_many", [b"a", b"b"], server=service.server, timeout=0.3)
    assert outcomes(found) == {0: "a", 1: "DeadlineError"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_was_cut_is_not_sent_again_for_it_may_have_been_worked_on(kind, service, naps):
    service.streams = [breaks(1, grpc.StatusCode.UNAVAILABLE)]
    found = ask(kind, "reconstruct_many", [b"a", b"b"], server=service.server)
    assert outcomes(found) == {0: "a", 1: "ServiceUnavailableError"}
    assert service.requests == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_was_idle_for_too_long_is_left_for_another(kind, service, naps):
    service.streams = [breaks(1, status(grpc.StatusCode.DEADLINE_EXCEEDED, "body-timeout")), echo]
    found = ask(kind, "reconstruct_many", [b"a", b"b", b"c"], server=service.server, in_flight=1)
    assert outcomes(found) == {0: "a", 1: "r1", 2: "c"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_hears_how_long_each_photo_of_a_stream_may_take(kind, service):
    told = []

    def listen(requests, context):
        for request in requests:
            told.append(request.timeout_seconds)
            yield from echo([request], context)

    service.streams = [listen]
    assert len(ask(kind, "reconstruct_many", [b"a"] * 5, server=service.server, timeout=9)) == 5
    assert len(told) == 5
    assert all(0 < seconds <= 9 for seconds in told)


@pytest.mark.parametrize("kind", KINDS)
def test_a_late_photo_has_no_other_sent_again(kind, service):
    """The second photo is answered over the same stream, once the first was given up."""
    given_up = threading.Event()

    def behave(requests, context):
        for request in requests:
            if request.request.content != b"late":
                given_up.wait(SECONDS)
                yield from echo([request], context)

    def photos():
        yield b"late"
        time.sleep(0.8)
        yield b"b"

    service.streams = [behave, echo]
    found = {}
    if kind == "sync":
        with Client(service.server) as client:
            for index, outcome in client.reconstruct_many(photos(), timeout=1, in_flight=2):
                found[index] = outcome
                given_up.set()
    else:

        async def run():
            async with AsyncClient(service.server) as client:
                async for index, outcome in client.reconstruct_many(photos(), timeout=1, in_flight=2):
                    found[index] = outcome
                    given_up.set()

        asyncio.run(run())
    assert outcomes(found.items()) == {0: "DeadlineError", 1: "b"}
    assert service.requests == []
    assert len(service.streams) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_late_photo_another_stream_goes_on(kind, service):
    def hang(requests, context):
        service.released.wait(SECONDS)
        yield from ()

    service.streams = [hang, echo]
    found = ask(kind, "reconstruct_many", [b"a", b"b", b"c"], server=service.server, timeout=0.3, in_flight=1)
    assert outcomes(found) == {0: "DeadlineError", 1: "b", 2: "c"}
    assert service.requests == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_to_nothing_is_an_error(kind, service):
    def odd(requests, context):
        for _ in requests:
            yield reconstruction_pb2.ReconstructStreamResponse(id="odd", response=response())

    service.streams = [odd]
    found = ask(kind, "reconstruct_many", [b"a"], server=service.server)
    assert outcomes(found) == {0: "UnexpectedAnswerError"}


def test_whoever_stops_early_ends_the_stream(service):
    ended = threading.Event()

    def watched(requests, context):
        context.add_callback(ended.set)
        yield next(echo(requests, context))
        ended.wait(SECONDS)  # busy with the others

    service.streams = [watched]
    with Client(service.server) as client:
        found = client.reconstruct_many([b"a"] * 50, in_flight=4)
        next(found)
        found.close()
        assert ended.wait(SECONDS)


def test_a_client_serves_several_threads(service):
    service.streams = [echo]
    with Client(service.server) as client, ThreadPoolExecutor(4) as pool:
        many = [pool.submit(lambda: outcomes(client.reconstruct_many([b"a"] * 5))) for _ in range(4)]
        assert all(set(one.result(SECONDS).values()) == {"a"} for one in many)
        assert {pool.submit(client.reconstruct, b"x").result(SECONDS).id for _ in range(8)} == {"r1"}

"""The gRPC interface over a real port: answers, errors with details, keys, quotas, overload. The library
behind it is a stand-in."""

import asyncio
import hashlib
import io
import logging
import threading

import grpc
import numpy as np
import pytest
import trimesh
from gateway_support import (
    DIGEST,
    FakeReconstructor,
    broken_backend_error,
    face_model,
    make_settings,
    mean_landmarks,
    photo_bytes,
    wait_started,
)
from grpc import aio
from grpc_support import RECONSTRUCT, failure, opened, request, serve, until
from PIL import Image

from inversefacenet.v1 import model_pb2, output_pb2, parameters_pb2, reconstruction_pb2, rendering_pb2
from services.gateway.gateway import Gateway

KEY = "a key of a test"
KEYS = {"tester": {"sha256": hashlib.sha256(KEY.encode()).hexdigest()}}
LIMITED = {"tester": {**KEYS["tester"], "photos_per_minute": 1, "burst": 2}}
MIB = 1024 * 1024


def landmarks_message(points):
    return reconstruction_pb2.Landmarks68(points=points.ravel().tolist())


def test_the_answer_has_every_part():
    async def check(service):
        answer = await service.photos.Reconstruct(request())
        assert (answer.image.width, answer.image.height) == (64, 48)
        assert (answer.model.digest, answer.model.face_model.digest) == (DIGEST, face_model().digest)
        (face,) = answer.faces
        assert (face.box.left, face.box.top, face.box.right, face.box.bottom) == (8, 6, 52, 42)
        assert face.score == 1.25
        np.testing.assert_array_equal(np.float32(face.landmarks68).reshape(68, 2), mean_landmarks())
        assert face.parameters.rotation[0] == pytest.approx(200 / 255)
        sizes = [len(values) for _, values in face.parameters.ListFields()]
        assert sizes == [3, 128, 64, 128, 27]
        assert list(face.parameters.illumination[:3]) == pytest.approx([0.9] * 3)
        assert face.placement.camera_distance == 700
        assert 0 < face.quality.iou < 1
        assert face.quality.HasField("nme")
        assert 0 <= face.quality.confidence <= 1
        assert face.quality.verdict != reconstruction_pb2.VERDICT_UNSPECIFIED
        assert "decode" in answer.timings_ms
        absent = ("mesh", "rendering", "contours")
        assert not any(face.HasField(name) for name in absent)
        assert not answer.HasField("overlay")
        other = await service.photos.Reconstruct(request())
        assert other.id != answer.id
        assert service.count("photos_total", outcome="ok") == 2

    serve(check)


def test_all_faces_come_when_asked_for():
    async def check(service):
        everyone = reconstruction_pb2.FACE_CHOICE_ALL
        answer = await service.photos.Reconstruct(request(faces=everyone, minimum_size=8.0))
        assert [face.score for face in answer.faces] == [1.25, 0.5]
        assert not answer.truncated

    serve(check)


def test_mesh_and_pictures_come_when_asked_for():
    async def check(service):
        parts = [output_pb2.PART_MESH, output_pb2.PART_RENDERING, output_pb2.PART_OVERLAY]
        options = output_pb2.MeshOptions(format=output_pb2.MESH_FORMAT_PLY)
        asked = request(parts=[*parts, output_pb2.PART_CONTOURS], mesh=options, picture_size=100)
        answer = await service.photos.Reconstruct(asked)
        (face,) = answer.faces
        assert (face.mesh.format, face.mesh.media_type) == (output_pb2.MESH_FORMAT_PLY, "application/ply")
        mesh = trimesh.load(io.BytesIO(face.mesh.content), file_type="ply", process=False)
        assert len(mesh.vertices) == face_model().vertex_count
        for picture, size in (
            (face.rendering, (100, 100)),
            (answer.overlay, (64, 48)),
            (face.contours, (480, 480)),
        ):
            assert picture.media_type == "image/png"
            decoded = Image.open(io.BytesIO(picture.content))
            assert decoded.size == (picture.width, picture.height) == size

    serve(check)


def test_landmarks_and_crops_need_no_detector():
    reconstructor = FakeReconstructor()

    async def check(service):
        reconstructor.detector.error = AssertionError("the detector was asked")
        known = landmarks_message(mean_landmarks())
        answer = await service.photos.Reconstruct(request(landmarks=[known]))
        np.testing.assert_array_equal(answer.faces[0].landmarks68, known.points)
        assert not answer.faces[0].HasField("score")
        crop = await service.photos.Reconstruct(request(content=photo_bytes(240, 240), crop=True))
        assert len(crop.faces[0].landmarks68) == 0
        assert not crop.faces[0].quality.HasField("nme")
        assert not crop.faces[0].quality.HasField("confidence")
        assert crop.faces[0].quality.verdict == reconstruction_pb2.VERDICT_UNSPECIFIED
        assert crop.faces[0].parameters.rotation[0] == pytest.approx(200 / 255)

    serve(check, reconstructor)


def test_parameters_become_pictures_and_meshes():
    async def check(service):
        shape = [1.0] + [0.0] * 127
        named = parameters_pb2.FaceParameters(shape=shape)
        background = output_pb2.Colour(blue=255)
        asked = rendering_pb2.RenderRequest(parameters=named, picture_size=64, background=background)
        answer = await service.renderings.Render(asked)
        assert answer.model.face_model.name == face_model().name
        picture = Image.open(io.BytesIO(answer.picture.content)).convert("RGB")
        assert picture.size == (answer.picture.width, answer.picture.height) == (64, 64)
        covered = (np.asarray(picture) != (0, 0, 255)).any(axis=2)
        assert covered[32, 32]
        assert not covered.all()
        vector = [0.0] * 350
        vector[3] = 1.0
        asked = rendering_pb2.RenderRequest(
            vector=parameters_pb2.ParameterVector(values=vector), output=rendering_pb2.RENDER_OUTPUT_MESH
        )
        answer = await service.renderings.Render(asked)
        assert answer.mesh.format == output_pb2.MESH_FORMAT_GLB
        mesh = trimesh.load(io.BytesIO(answer.mesh.content), file_type="glb", force="mesh", process=False)
        expected = face_model().geometry(np.float32(shape), np.zeros(64, np.float32)) / 1000
        np.testing.assert_allclose(mesh.vertices, expected, atol=1e-6)

    serve(check)


def test_models_are_listed_and_found():
    async def check(service):
        listed = (await service.models.ListModels(model_pb2.ListModelsRequest())).models
        assert [model.digest for model in listed] == [DIGEST]
        found = await service.models.GetModel(model_pb2.GetModelRequest(name=listed[0].name))
        assert found.model == listed[0]
        wrong = await failure(service.models.GetModel(model_pb2.GetModelRequest(name="other")))
        assert (wrong.code, wrong.reason) == (grpc.StatusCode.NOT_FOUND, "not-found")

    serve(check)


BAD = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"content": b""}, BAD, "empty-image"),
        ({"content": b"no picture"}, BAD, "unsupported-image"),
        ({"content": photo_bytes()[:60]}, BAD, "truncated-image"),
        ({"content": photo_bytes(200, 200)}, BAD, "image-too-large"),
        ({"content": photo_bytes(colour=(0, 0, 0))}, grpc.StatusCode.NOT_FOUND, "no-face"),
        ({"content": photo_bytes(100, 100), "crop": True}, BAD, None),
        ({"url": "https://example.com/me.jpg"}, grpc.StatusCode.PERMISSION_DENIED, "url-input-disabled"),
    ],
)
def test_what_is_wrong_with_a_photo_is_told(changes, code, reason):
    async def check(service):
        wrong = await failure(service.photos.Reconstruct(request(**changes)))
        assert wrong.code is code
        assert reason is None or wrong.reason == reason
        assert wrong.retry is None
        assert service.count("requests_total", route=RECONSTRUCT, outcome=wrong.reason) == 1

    serve(check, max_pixels=30_000)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"content": None}, "photo"),
        ({"faces": 7}, "faces"),
        ({"parts": [output_pb2.PART_MESH, 99]}, "parts[1]"),
        ({"minimum_size": -1.0}, "minimum_size"),
        ({"minimum_size": float("nan")}, "minimum_size"),
        ({"picture_size": 1_000_000}, "picture_size"),
        ({"mesh": output_pb2.MeshOptions(space=9)}, "mesh.space"),
        ({"landmarks": [reconstruction_pb2.Landmarks68(points=[1.0] * 135)]}, "landmarks[0].points"),
        ({"landmarks": [reconstruction_pb2.Landmarks68(points=[np.inf] * 136)]}, "landmarks[0].points"),
    ],
)
def test_a_wrong_field_is_named(changes, field):
    async def check(service):
        wrong = await failure(service.photos.Reconstruct(request(**changes)))
        assert (wrong.code, wrong.reason) == (BAD, "invalid-request")
        assert list(wrong.fields) == [field]
        assert wrong.fields[field] in wrong.message

    serve(check)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vector": parameters_pb2.ParameterVector(values=[0.0] * 349)}, "invalid-parameters"),
        ({"vector": parameters_pb2.ParameterVector(values=[np.nan] * 350)}, "invalid-parameters"),
        ({"parameters": parameters_pb2.FaceParameters(rotation=[1.0])}, "invalid-parameters"),
        ({"background": output_pb2.Colour(red=256)}, "invalid-request"),
        ({"output": 5}, "invalid-request"),
    ],
)
def test_unusable_renderings_are_refused(changes, reason):
    async def check(service):
        wrong = await failure(service.renderings.Render(rendering_pb2.RenderRequest(**changes)))
        assert (wrong.code, wrong.reason) == (BAD, reason)

    serve(check)


def test_bytes_that_are_no_message_are_refused():
    async def check(service):
        wrong = await failure(service.channel.unary_unary(RECONSTRUCT)(b"\xff\xff\xff"))
        assert (wrong.code, wrong.reason) == (BAD, "invalid-input")
        assert "inversefacenet.v1.ReconstructRequest" in wrong.message

    serve(check)


@pytest.mark.parametrize(
    ("error", "code", "reason", "retry"),
    [
        (broken_backend_error(), grpc.StatusCode.UNAVAILABLE, "backend-unavailable", 1.0),
        (RuntimeError("/srv/secret is broken"), grpc.StatusCode.INTERNAL, "internal", None),
    ],
)
def test_faults_of_the_service_are_told_to_the_log_alone(caplog, error, code, reason, retry):
    reconstructor = FakeReconstructor()

    async def check(service):
        reconstructor.backend.error = error
        wrong = await failure(service.photos.Reconstruct(request()))
        assert (wrong.code, wrong.reason, wrong.retry) == (code, reason, retry)
        assert "secret" not in wrong.message
        assert "/srv/secret" in caplog.text
        reconstructor.backend.error = None
        assert (await service.photos.Reconstruct(request())).faces

    serve(check, reconstructor, probe_interval=100)


def test_an_unknown_method_is_counted_apart():
    async def check(service):
        wrong = await failure(service.channel.unary_unary("/inversefacenet.v1.Other/Guess")(b""))
        assert (wrong.code, wrong.reason) == (grpc.StatusCode.UNIMPLEMENTED, "not-found")
        assert service.count("requests_total", route="unmatched", outcome="not-found") == 1

    serve(check)


def test_the_request_id_comes_back_and_is_in_the_log(caplog):
    async def check(service):
        caplog.set_level(logging.INFO, "services.gateway.request")
        call = service.photos.Reconstruct(request(), metadata=(("x-request-id", "mine-1"),))
        await call
        assert dict(await call.trailing_metadata())["x-request-id"] == "mine-1"
        line = caplog.records[-1]
        assert (line.route, line.status, line.outcome, line.faces) == (RECONSTRUCT, "OK", "ok", 1)
        assert line.bytes_in == request().ByteSize()
        assert line.bytes_out > 1000
        odd = await failure(
            service.photos.Reconstruct(request(content=b"x"), metadata=(("x-request-id", "no spaces"),))
        )
        assert len(odd.request_id) == 32
        assert caplog.records[-1].outcome == "unsupported-image"
        assert service.count("requests_total", route=RECONSTRUCT, outcome="ok") == 1
        assert service.count("requests_in_flight") == 0

    serve(check)


def test_keys_are_asked_for_where_there_are_any():
    async def check(service):
        for metadata in ((), (("authorization", "Bearer wrong"),), (("x-api-key", "wrong"),)):
            wrong = await failure(service.photos.Reconstruct(request(), metadata=metadata))
            assert (wrong.code, wrong.reason) == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
            assert KEY not in wrong.message
        for metadata in ((("authorization", f"Bearer {KEY}"),), (("x-api-key", KEY),)):
            assert (await service.photos.Reconstruct(request(), metadata=metadata)).faces
        for call in (
            service.models.ListModels(model_pb2.ListModelsRequest()),
            service.renderings.Render(rendering_pb2.RenderRequest()),
            service.photos.ReconstructStream(iter(())).read(),
        ):
            assert (await failure(call)).reason == "unauthenticated"
        assert service.count("refusals_total", cause="unauthenticated") == 6
        assert service.count("key_photos_total", key="tester") == 2

    serve(check, api_keys=KEYS)


def test_quotas_are_kept_and_say_when_to_come_back():
    reconstructor = FakeReconstructor()

    async def check(service):
        metadata = (("x-api-key", KEY),)
        assert (await service.photos.Reconstruct(request(), metadata=metadata)).faces
        # What the service couldn't take costs nothing.
        reconstructor.backend.error = broken_backend_error()
        wrong = await failure(service.photos.Reconstruct(request(), metadata=metadata))
        assert wrong.reason == "backend-unavailable"
        reconstructor.backend.error = None
        assert (await service.photos.Reconstruct(request(), metadata=metadata)).faces
        wrong = await failure(service.photos.Reconstruct(request(), metadata=metadata))
        assert (wrong.code, wrong.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota-exceeded")
        assert 0 < wrong.retry <= 60
        assert service.count("key_photos_total", key="tester") == 2

    serve(check, reconstructor, api_keys=LIMITED, probe_interval=100)


def test_only_photos_that_are_understood_are_charged():
    async def check(service):
        metadata = (("x-api-key", KEY),)
        for wrong in (
            reconstruction_pb2.ReconstructRequest(),
            request(minimum_size=-1),
            request(url="https://example.com/me.jpg"),
        ):
            assert (await failure(service.photos.Reconstruct(wrong, metadata=metadata))).reason in (
                "invalid-request",
                "url-input-disabled",
            )
        aborted = service.channel.stream_unary(RECONSTRUCT)(metadata=metadata)
        await aborted.wait_for_connection()
        await until(lambda: service.count("requests_in_flight") == 1)
        aborted.cancel()
        await until(lambda: service.count("requests_in_flight") == 0)
        for _ in range(2):
            assert (await service.photos.Reconstruct(request(), metadata=metadata)).faces
        assert service.count("key_photos_total", key="tester") == 2

    serve(check, api_keys=LIMITED)


def test_a_rendering_costs_as_much_as_a_photo():
    async def check(service):
        metadata = (("x-api-key", KEY),)
        wrong = rendering_pb2.RenderRequest(picture_size=1)
        reason = (await failure(service.renderings.Render(wrong, metadata=metadata))).reason
        assert reason == "invalid-request"
        for _ in range(2):
            asked = rendering_pb2.RenderRequest(picture_size=16)
            assert (await service.renderings.Render(asked, metadata=metadata)).picture.content
        refused = await failure(service.renderings.Render(rendering_pb2.RenderRequest(), metadata=metadata))
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota-exceeded")
        assert service.count("key_photos_total", key="tester") == 2

    serve(check, api_keys=LIMITED)


def test_a_call_without_a_message_is_told_so():
    async def check(service):
        wrong = await failure(service.channel.stream_unary(RECONSTRUCT)(iter(())))
        assert (wrong.code, wrong.reason) == (BAD, "invalid-input")
        assert service.count("requests_total", route=RECONSTRUCT, outcome="invalid-input") == 1
        assert service.count("refusals_total", cause="too-large") == 0

    serve(check)


def test_past_the_queue_calls_are_refused_exactly_and_at_once(caplog):
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(service):
        caplog.set_level(logging.INFO, "services.gateway.request")
        accepted = [asyncio.ensure_future(_answered(service)) for _ in range(2)]
        await wait_started(reconstructor)
        await _until_full(service)
        large = request(content=bytes(3 * MIB))
        refused = [await failure(service.photos.Reconstruct(large)) for _ in range(5)]
        assert {wrong.code for wrong in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert {wrong.reason for wrong in refused} == {"overloaded"}
        assert all(wrong.retry >= 1 for wrong in refused)
        assert service.count("refusals_total", cause="queue") == 5
        # Their messages were never received.
        told = [line for line in caplog.records if getattr(line, "outcome", "") == "overloaded"]
        assert len(told) == 5
        assert not any(hasattr(line, "bytes_in") for line in told)
        reconstructor.detector.hold.set()
        assert all(answer.faces for answer in await asyncio.gather(*accepted))

    serve(check, reconstructor)


async def _answered(service):
    return await service.photos.Reconstruct(request())


async def _until_full(service):
    while service.count("queue_length") < 1:
        await asyncio.sleep(0.005)


def test_a_burst_is_answered_or_refused_without_losing_any():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(service):
        calls = [asyncio.ensure_future(_answered(service)) for _ in range(20)]
        await wait_started(reconstructor)
        while service.count("refusals_total", cause="queue") < 18:
            await asyncio.sleep(0.005)
        reconstructor.detector.hold.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        refused = [error for error in outcomes if isinstance(error, aio.AioRpcError)]
        assert len(refused) == 18
        assert service.count("photos_total", outcome="ok") == 2

    serve(check, reconstructor)


def test_a_call_that_takes_too_long_ends_with_details():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(service):
        late = await failure(service.photos.Reconstruct(request()))
        assert (late.code, late.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "deadline-exceeded")
        reconstructor.detector.hold.set()

    serve(check, reconstructor, request_timeout=0.3, url_timeout=0.3)


class Remote:
    """A network on another server that notes how long it may take."""

    name = "triton"
    version = "3"
    digest = DIGEST

    def __init__(self):
        self.allowed = []

    async def infer_async(self, crops, *, timeout=None, metadata=None):
        self.allowed.append(timeout)
        return FakeReconstructor().backend.infer(crops)

    async def close_async(self):
        self.allowed.append("closed")


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_the_caller_s_deadline_reaches_the_network(where):
    reconstructor, remote = FakeReconstructor(), Remote()

    def infer(crops, *, timeout=None):
        remote.allowed.append(timeout)
        return FakeReconstructor().backend.infer(crops)

    async def check(service):
        reconstructor.backend.infer = infer
        remote.allowed.clear()
        for timeout in (None, 7.0, 500.0):
            await service.photos.Reconstruct(request(), timeout=timeout)
        own, shorter, longer = remote.allowed
        assert 15 < own <= 20
        assert 2 < shorter < 7.5  # gRPC rounds up what it sends
        assert 15 < longer <= 20
        stream = service.photos.ReconstructStream(
            iter([reconstruction_pb2.ReconstructStreamRequest(request=request())]), timeout=7.0
        )
        assert (await stream.read()).response.faces
        assert 2 < remote.allowed[-1] < 7.5

    elsewhere = {"remote": remote} if where == "elsewhere" else {}
    serve(check, reconstructor, request_timeout=20, probe_interval=100, **elsewhere)


@pytest.mark.parametrize("way", ["deadline", "cancel"])
def test_work_that_nobody_waits_for_is_dropped(way):
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(service):
        first = asyncio.ensure_future(_answered(service))
        await wait_started(reconstructor)
        if way == "deadline":
            with pytest.raises(aio.AioRpcError) as caught:
                await service.photos.Reconstruct(request(), timeout=0.2)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            outcome = "deadline-exceeded"
        else:
            second = service.photos.Reconstruct(request())
            await _until_full(service)
            second.cancel()
            outcome = "client-closed-request"
        while service.count("requests_total", route=RECONSTRUCT, outcome=outcome) < 1:
            await asyncio.sleep(0.005)
        # Its place in the queue is free again.
        third = asyncio.ensure_future(_answered(service))
        await _until_full(service)
        reconstructor.detector.hold.set()
        assert (await first).faces
        assert (await third).faces
        assert service.count("requests_in_flight") == 0
        assert not reconstructor.detector.started.acquire(timeout=0) or not (
            reconstructor.detector.started.acquire(timeout=0)
        ), "the dropped photo was worked on"

    serve(check, reconstructor, probe_interval=100)


def test_large_photos_and_answers_fit():
    async def check(service):
        photo = photo_bytes(1400, 1200, form="BMP")
        assert len(photo) > 4.5 * MIB
        asked = request(content=photo, parts=[output_pb2.PART_OVERLAY], picture_size=2048)
        answer = await service.photos.Reconstruct(asked)
        assert answer.image.width == 1400

    serve(check)


def test_limits_of_bytes_hold():
    async def check(service):
        wrong = await failure(service.photos.Reconstruct(request(content=bytes(MIB + 1))))
        assert (wrong.code, wrong.reason) == (BAD, "image-too-large")
        # Far too much is refused by the connection itself, before it is read.
        with pytest.raises(aio.AioRpcError) as caught:
            await service.photos.Reconstruct(request(content=bytes(3 * MIB)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        while not service.count("requests_total", route=RECONSTRUCT, outcome="body-too-large"):
            await asyncio.sleep(0.005)
        assert service.count("refusals_total", cause="too-large") == 2

    serve(check, max_body_bytes=MIB)


def test_compressed_messages_are_refused_for_they_could_be_bombs():
    async def check(service):
        with pytest.raises(aio.AioRpcError) as caught:
            await service.photos.Reconstruct(request(), compression=grpc.Compression.Gzip)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    serve(check)


def test_messages_that_never_arrive_hold_nothing_up():
    async def check(service):
        # A unary call is a stream of one message on the wire; this one doesn't send it.
        silent = service.channel.stream_unary(RECONSTRUCT)()
        await silent.wait_for_connection()
        while not service.count("requests_in_flight"):
            await asyncio.sleep(0.005)
        other = await failure(service.photos.Reconstruct(request()))
        assert (other.code, other.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too-many-uploads")
        late = await failure(silent)
        assert (late.code, late.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "body-timeout")
        assert (await service.photos.Reconstruct(request())).faces

    serve(check, uploads=1, body_timeout=2.0)


def test_photos_are_fetched_where_that_is_allowed():
    class Fetcher:
        asked = ()

        async def fetch(self, url, deadline_seconds=None):
            self.asked = (url, deadline_seconds)
            return photo_bytes(80, 60)

        async def close(self):
            self.asked = ()

    async def check(service):
        service.gateway.fetcher = fetcher = Fetcher()
        answer = await service.photos.Reconstruct(request(url="https://example.com/me.jpg"), timeout=9)
        assert (answer.image.width, answer.image.height) == (80, 60)
        url, seconds = fetcher.asked
        assert url == "https://example.com/me.jpg"
        assert 8 < seconds <= 9.1  # the core rounds deadlines

    serve(check)


def test_a_photo_that_is_fetched_counts_as_one_that_is_received():
    class Fetcher:
        def __init__(self):
            self.asked = asyncio.Event()
            self.go_on = asyncio.Event()

        async def fetch(self, url, deadline_seconds=None):
            self.asked.set()
            await self.go_on.wait()
            return photo_bytes()

        async def close(self):
            self.go_on.set()

    async def check(service):
        service.gateway.fetcher = fetcher = Fetcher()
        fetched = service.photos.Reconstruct(request(url="https://example.com/me.jpg"))
        await fetcher.asked.wait()
        refused = await failure(service.photos.Reconstruct(request()))
        assert refused.reason == "too-many-uploads"
        fetcher.go_on.set()
        assert (await fetched).faces
        assert (await service.photos.Reconstruct(request())).faces

    serve(check, uploads=1)


def test_a_taken_port_is_told():
    async def run():
        async with opened() as service:
            taken = service.gateway.grpc_port
            other = Gateway(make_settings(grpc_port=taken), FakeReconstructor())
            with pytest.raises(OSError, match=rf"{taken}.*IFN_GRPC_PORT"):
                await other.open()

    asyncio.run(run())

"""A video over one gRPC call."""

import asyncio
import threading

import grpc
import pytest
from gateway_support import FakeReconstructor, photo_bytes, wait_started
from grpc import aio
from grpc_support import SECONDS, details_of, failure, opened, serve, until
from test_gateway_grpc import KEY, LIMITED

from inversefacenet.errors import BackendError
from inversefacenet.landmarks import Face
from inversefacenet.v1 import tracking_pb2
from inversefacenet.v1.tracking_pb2_grpc import TrackingServiceStub
from services.gateway.pipeline import NoBackend

TRACK = "/inversefacenet.v1.TrackingService/Track"
TRACKING, DETECTED, LOST = (
    tracking_pb2.FACE_STATE_TRACKING,
    tracking_pb2.FACE_STATE_DETECTED,
    tracking_pb2.FACE_STATE_LOST,
)
BLACK = photo_bytes(colour=(0, 0, 0))
EVERY = tracking_pb2.TrackRequest(options=tracking_pb2.TrackOptions(least_confidence=0, single_frames=True))


class Follower(FakeReconstructor):
    """A stand-in whose detector can follow a face: it finds it where it was, a little to the right."""

    def __init__(self):
        super().__init__()
        self.followed = 0
        self.detector.face_at = self._face_at

    def _face_at(self, image, box, roll=0.0):
        self.followed += 1
        found = self.detector.detect(image)[0]
        return Face(found.box, float("nan"), found.landmarks + 0.1 * self.followed % 2, spread=0.004)


def frame(seconds, content=None, red=200):
    content = photo_bytes(colour=(red, 150, 120)) if content is None else content
    return tracking_pb2.TrackRequest(frame=tracking_pb2.TrackFrame(content=content, seconds=seconds))


async def answers(service, requests, **options):
    call = TrackingServiceStub(service.channel).Track(iter(requests), **options)
    return [answer async for answer in call]


def test_a_face_is_followed_lost_and_found_again(caplog):
    reconstructor = Follower()

    async def check(service):
        caplog.set_level("INFO", "services.gateway.request")
        frames = [frame(0.0), frame(0.04), frame(0.08), frame(0.12, BLACK), frame(0.16, BLACK), frame(0.4)]
        found = await answers(service, [EVERY, *frames])
        assert [answer.index for answer in found] == list(range(6))
        assert [answer.seconds for answer in found] == [0.0, 0.04, 0.08, 0.12, 0.16, 0.4]
        states = [answer.frame.state for answer in found]
        assert states == [DETECTED, TRACKING, TRACKING, LOST, LOST, DETECTED]
        assert reconstructor.followed == 2
        first, lost = found[0].frame, found[3].frame
        assert len(first.face.parameters.shape) == 128
        assert len(first.face.landmarks68) == len(first.found_landmarks68) == 136
        assert first.network_parameters.rotation[0] == pytest.approx(200 / 255)
        assert (first.image.width, first.image.height) == (64, 48)
        assert first.model.digest == "ab" * 32
        assert first.timings_ms["decode"] > 0
        assert first.face.quality.HasField("confidence")
        assert (lost.person, lost.HasField("face"), len(lost.found_landmarks68)) == (0, False, 0)
        assert service.count("photos_total", outcome="ok") == 6
        assert service.count("requests_total", route=TRACK, outcome="ok") == 1
        line = caplog.records[-1]
        assert (line.photos, line.faces) == (6, 4)

    serve(check, reconstructor, workers=3)


def test_pose_is_filtered_and_single_frames_are_told_if_asked():
    async def check(service):
        reds = [100, 100, 110, 100, 110, 100, 110]
        requests = [frame(0.04 * number, red=red) for number, red in enumerate(reds)]
        found = await answers(service, [EVERY, *requests])
        raw = [answer.frame.network_parameters.rotation[0] for answer in found]
        smooth = [answer.frame.face.parameters.rotation[0] for answer in found]
        assert raw == pytest.approx([red / 255 for red in reds])
        assert max(smooth[2:]) - min(smooth[2:]) < 0.8 * (max(raw) - min(raw))
        (plain,) = await answers(service, [EVERY_LITTLE, frame(0.0)])
        assert not plain.frame.HasField("network_parameters")
        assert not plain.frame.found_landmarks68

    serve(check, Follower())


EVERY_LITTLE = tracking_pb2.TrackRequest(options=tracking_pb2.TrackOptions(least_confidence=0))


def test_a_frame_that_cant_be_used_ends_nothing():
    async def check(service):
        requests = [
            EVERY,
            frame(0.0),
            frame(0.04, b"no picture"),
            frame(0.08),
            frame(0.02),
            frame(float("nan")),
            tracking_pb2.TrackRequest(),
            frame(0.12),
        ]
        found = await answers(service, requests)
        assert [answer.WhichOneof("result") for answer in found] == [
            "frame", "error", "frame", "error", "error", "error", "frame",
        ]  # fmt: skip
        wrong = [details_of(answer.error) for answer in found if answer.HasField("error")]
        assert [error.reason for error in wrong] == [
            "unsupported-image", "invalid-input", "invalid-request", "invalid-request",
        ]  # fmt: skip
        assert "never falls" in wrong[1].message
        assert list(wrong[2].fields) == ["frame.seconds"]
        # The track went on as if those frames had not been there.
        assert [answer.frame.state for answer in found if answer.HasField("frame")] == [
            DETECTED, TRACKING, TRACKING,
        ]  # fmt: skip

    serve(check, Follower())


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"minimum_size": -1}, "options.minimum_size"),
        ({"minimum_size": float("nan")}, "options.minimum_size"),
        ({"least_confidence": 1.5}, "options.least_confidence"),
    ],
)
def test_options_that_cant_be_used_end_the_stream(options, field):
    async def check(service):
        requests = [tracking_pb2.TrackRequest(options=tracking_pb2.TrackOptions(**options)), frame(0.0)]
        call = TrackingServiceStub(service.channel).Track(iter(requests))
        ended = await failure(call.read())
        assert (ended.code, ended.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid-request")
        assert list(ended.fields) == [field]

    serve(check)


def test_options_come_first():
    async def check(service):
        call = TrackingServiceStub(service.channel).Track(iter([frame(0.0), EVERY]))
        assert (await call.read()).index == 0
        assert list((await failure(call.read())).fields) == ["options"]

    serve(check)


def test_options_reach_the_detector():
    reconstructor = FakeReconstructor()

    async def check(service):
        options = tracking_pb2.TrackOptions(minimum_size=80, least_confidence=1)
        (answer,) = await answers(service, [tracking_pb2.TrackRequest(options=options), frame(0.0)])
        assert reconstructor.detector.asked["minimum_size"] == 80
        assert answer.frame.state == LOST, "no answer is that sure"

    serve(check, reconstructor)


def test_two_frames_are_held_and_the_rest_waits():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(service):
        sent = []

        async def frames():
            for number in range(40):
                sent.append(number)
                # So large that few fit into what HTTP/2 lets a sender send ahead.
                yield frame(0.04 * number, photo_bytes(700, 700) + bytes(1_000_000))

        call = TrackingServiceStub(service.channel).Track(frames())
        await wait_started(reconstructor)
        await asyncio.sleep(0.3)
        assert len(sent) < 20
        reconstructor.detector.hold.set()
        assert [answer.index async for answer in call] == list(range(40))

    serve(check, reconstructor, workers=4, queue=16)


def test_quotas_count_frames():
    async def check(service):
        found = await answers(
            service, [frame(0.04 * number) for number in range(4)], metadata=(("x-api-key", KEY),)
        )
        assert [answer.WhichOneof("result") for answer in found] == ["frame", "frame", "error", "error"]
        assert details_of(found[2].error).reason == "quota-exceeded"

    serve(check, api_keys=LIMITED)


def test_a_caller_who_leaves_takes_the_work_along():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(service):
        call = TrackingServiceStub(service.channel).Track(iter([frame(0.04 * n) for n in range(9)]))
        await wait_started(reconstructor)
        call.cancel()
        gone = {"route": TRACK, "outcome": "client-closed-request"}
        await until(lambda: service.count("requests_total", **gone) == 1)
        reconstructor.detector.hold.set()
        await service.gateway.engine.idle()
        assert await answers(service, [frame(0.0)])

    serve(check, reconstructor, probe_interval=100)


def test_a_stream_that_sends_nothing_ends():
    async def check(service):
        silent = TrackingServiceStub(service.channel).Track()
        await silent.write(EVERY)
        ended = await failure(silent.read())
        assert (ended.code, ended.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "body-timeout")
        assert await answers(service, [frame(0.0)])

    serve(check, uploads=1, body_timeout=0.2)


def test_streams_in_one_service_know_nothing_of_each_other():
    async def check(service):
        one, two = TrackingServiceStub(service.channel).Track(), TrackingServiceStub(service.channel).Track()
        await one.write(EVERY)
        await two.write(EVERY)
        await one.write(frame(5.0))
        assert (await one.read()).frame.state == DETECTED
        await two.write(frame(1.0))
        assert (await two.read()).frame.state == DETECTED
        await one.write(frame(5.04))
        assert (await one.read()).frame.state == TRACKING
        await one.done_writing()
        await two.done_writing()
        assert await one.read() is aio.EOF
        assert await two.read() is aio.EOF

    serve(check, Follower(), workers=2)


class Remote:
    """The network elsewhere: answers as the stand-in here does."""

    name, version, digest = "triton", "1", "cd" * 32

    def __init__(self, backend):
        self.backend = backend
        self.error = None
        self.asked = 0

    async def infer_async(self, crops, *, timeout=None, metadata=None):
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.backend.infer(crops)

    async def close_async(self):
        pass


def test_the_network_may_run_elsewhere():
    reconstructor = Follower()
    remote = Remote(reconstructor.backend)
    reconstructor.backend = NoBackend()

    async def run():
        async with opened(reconstructor, remote=remote, backend="triton", workers=2) as service:
            remote.asked = 0
            found = await answers(service, [EVERY, frame(0.0), frame(0.04), frame(0.08, BLACK)])
            assert [answer.frame.state for answer in found] == [DETECTED, TRACKING, LOST]
            assert found[0].frame.model.digest == "cd" * 32
            assert found[0].frame.timings_ms["infer"] >= 0
            # A face that was followed, and isn't believed, is searched: the network is asked once more.
            sure = tracking_pb2.TrackRequest(options=tracking_pb2.TrackOptions(least_confidence=1))
            (lost,) = await answers(service, [sure, frame(0.0)])
            assert lost.frame.state == LOST
            remote.error = BackendError("It is gone.")
            (broken,) = await answers(service, [EVERY, frame(0.0)])
            assert details_of(broken.error).code is grpc.StatusCode.UNAVAILABLE
            await service.gateway.engine.idle()

    asyncio.run(asyncio.wait_for(run(), SECONDS))

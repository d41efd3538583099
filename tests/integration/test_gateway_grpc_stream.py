"""Many photos over one gRPC call."""

import asyncio
import logging
import threading

import grpc
import pytest
from gateway_support import FakeReconstructor, make_settings, photo_bytes, wait_started
from grpc import aio
from grpc_support import STREAM, details_of, failure, request, serve, until
from test_gateway_grpc import KEY, LIMITED

from inversefacenet.v1 import output_pb2, reconstruction_pb2
from services.gateway import grpc_stream
from services.gateway.access import Caller
from services.gateway.context import begin_request
from services.gateway.gateway import Gateway
from services.gateway.grpc_places import shared_places
from services.gateway.grpc_server import server_options
from services.gateway.grpc_stream import PhotoStream


def item(name, **changes):
    return reconstruction_pb2.ReconstructStreamRequest(id=name, request=request(**changes))


async def answers(service, items, **options):
    """Send photos and collect the answers by id."""
    call = service.photos.ReconstructStream(iter(items), **options)
    return {answer.id: answer async for answer in call}


def test_each_photo_gets_its_own_answer(caplog):
    async def check(service):
        caplog.set_level(logging.INFO, "services.gateway.request")
        names = [f"photo-{number}" for number in range(40)]
        items = [
            item(name, content=photo_bytes(colour=(5 * number + 10, 100, 100)))
            for number, name in enumerate(names)
        ]
        found = await answers(service, items)
        assert sorted(found) == sorted(names)
        for number, name in enumerate(names):
            assert found[name].index == number
            (face,) = found[name].response.faces
            # The network's stand-in turns each face by its photo's red.
            assert face.parameters.rotation[0] == pytest.approx((5 * number + 10) / 255)
        assert service.count("photos_total", outcome="ok") == 40
        assert service.count("requests_total", route=STREAM, outcome="ok") == 1
        line = caplog.records[-1]
        assert (line.photos, line.faces, line.caller) == (40, 40, "anonymous")

    serve(check, workers=2)


def test_a_bad_photo_ends_nothing():
    async def check(service):
        items = [
            item("first"),
            item("broken", content=b"no picture"),
            item("black", content=photo_bytes(colour=(0, 0, 0))),
            item("wrong", faces=9),
            item("x" * 200),
            item("last", parts=[output_pb2.PART_RENDERING]),
        ]
        call = service.photos.ReconstructStream(iter(items), metadata=(("x-request-id", "many-1"),))
        found = {answer.index: answer async for answer in call}
        assert dict(await call.initial_metadata())["x-request-id"] == "many-1"
        assert dict(await call.trailing_metadata())["x-request-id"] == "many-1"
        assert [found[index].WhichOneof("result") for index in range(6)] == [
            "response", "error", "error", "error", "error", "response",
        ]  # fmt: skip
        wrong = [details_of(found[index].error) for index in range(1, 5)]
        reasons = ["unsupported-image", "no-face", "invalid-request", "invalid-request"]
        assert [error.reason for error in wrong] == reasons
        assert wrong[1].code is grpc.StatusCode.NOT_FOUND
        assert list(wrong[2].fields) == ["faces"]
        assert {error.request_id for error in wrong} == {"many-1"}
        assert found[5].response.faces[0].rendering.width == 480

    serve(check)


def test_bytes_that_are_no_message_end_nothing():
    async def check(service):
        call = service.channel.stream_stream(STREAM)(iter([b"\xff", item("good").SerializeToString()]))
        kind = reconstruction_pb2.ReconstructStreamResponse
        found = {answer.index: answer for answer in [kind.FromString(raw) async for raw in call]}
        assert details_of(found[0].error).reason == "invalid-input"
        assert found[1].response.faces

    serve(check)


def test_photos_of_a_stream_wait_where_single_ones_are_refused():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(service):
        stream = asyncio.ensure_future(answers(service, [item(str(number)) for number in range(12)]))
        await wait_started(reconstructor)
        await until(lambda: service.count("queue_length") == 1)
        assert (await failure(service.photos.Reconstruct(request()))).reason == "overloaded"
        reconstructor.detector.hold.set()
        assert all(answer.response.faces for answer in (await stream).values())
        assert service.count("refusals_total", cause="queue") == 1

    serve(check, reconstructor)


class Context:
    """A call whose caller sends without end."""

    def __init__(self, limit):
        self.reads = 0
        self.written = []
        self.limit = limit

    async def read(self):
        if self.reads == self.limit:
            return aio.EOF
        self.reads += 1
        return item(str(self.reads)).SerializeToString()

    async def write(self, message):
        self.written.append(reconstruction_pb2.ReconstructStreamResponse.FromString(message))

    def time_remaining(self):
        return None


def stream_of(gateway, context, shared=None):
    shared = shared or shared_places(gateway.settings)
    return PhotoStream(gateway, Caller("anonymous"), context, shared, asyncio.Event())


def test_no_more_is_received_than_there_are_places():
    """The sender is held back by what is not received: gRPC's flow control does the rest."""
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def run():
        begin_request(None)
        gateway = Gateway(make_settings(grpc_port=None, workers=1, queue=8), reconstructor)
        await gateway.open()
        context = Context(50)
        running = asyncio.ensure_future(stream_of(gateway, context).run())
        await wait_started(reconstructor)
        await until(lambda: context.reads == 4)
        for _ in range(100):
            await asyncio.sleep(0)
        assert context.reads == 4
        reconstructor.detector.hold.set()
        await running
        assert context.reads == len(context.written) == 50
        await gateway.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_streams_share_all_places_but_one_each():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def run():
        begin_request(None)
        gateway = Gateway(make_settings(grpc_port=None, workers=1, queue=8), reconstructor)
        await gateway.open()
        shared = shared_places(gateway.settings)
        contexts = [Context(12) for _ in range(5)]
        running = [asyncio.ensure_future(stream_of(gateway, context, shared).run()) for context in contexts]
        await wait_started(reconstructor)
        await until(lambda: sum(context.reads for context in contexts) == 5 + 3)
        for _ in range(100):
            await asyncio.sleep(0)
        assert sum(context.reads for context in contexts) == 5 + 3
        assert min(context.reads for context in contexts) == 1
        left, *others = running
        left.cancel()
        reconstructor.detector.hold.set()
        await asyncio.gather(*others)
        assert [len(context.written) for context in contexts[1:]] == [12] * 4
        with pytest.raises(asyncio.CancelledError):
            await left
        # Whoever had them, all are back.
        await until(lambda: shared._value == 3)
        await gateway.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_quotas_count_the_photos_of_a_stream():
    async def check(service):
        found = await answers(
            service, [item(str(number)) for number in range(4)], metadata=(("x-api-key", KEY),)
        )
        refused = [answer for answer in found.values() if answer.HasField("error")]
        assert len(refused) == 2
        assert sorted(found) == ["0", "1", "2", "3"]
        for answer in refused:
            wrong = details_of(answer.error)
            assert (wrong.code, wrong.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota-exceeded")
            assert wrong.retry > 0
        assert service.count("refusals_total", cause="quota") == 2
        assert service.count("key_photos_total", key="tester") == 2

    serve(check, api_keys=LIMITED)


def test_a_caller_who_leaves_takes_the_work_along():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(service):
        call = service.photos.ReconstructStream(iter([item(str(number)) for number in range(9)]))
        await wait_started(reconstructor)
        call.cancel()
        gone = {"route": STREAM, "outcome": "client-closed-request"}
        await until(lambda: service.count("requests_total", **gone) == 1)
        reconstructor.detector.hold.set()
        await service.gateway.engine.idle()
        assert service.count("queue_length") == 0
        assert not reconstructor.detector.started.acquire(timeout=0), "dropped photos were worked on"
        assert (await service.photos.Reconstruct(request())).faces

    serve(check, reconstructor, probe_interval=100)


def test_a_service_that_leaves_answers_what_it_has_received():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(service):
        call = service.photos.ReconstructStream()
        await call.write(item("one"))
        await wait_started(reconstructor)
        draining = asyncio.ensure_future(service.gateway.drain())
        await until(lambda: service.gateway.engine.draining)
        reconstructor.detector.hold.set()
        answer = await call.read()
        assert answer.id == "one"
        assert answer.response.faces
        ended = await failure(call.read())
        assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "draining")
        assert ended.retry >= 1
        refused = await failure(service.photos.Reconstruct(request()))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "draining")
        draining.cancel()

    serve(check, reconstructor, drain_delay=60.0)


def test_the_number_of_open_streams_is_bounded():
    async def check(service):
        open_one = service.photos.ReconstructStream()
        await open_one.initial_metadata()
        refused = await failure(service.photos.ReconstructStream().read())
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too-many-uploads")
        await open_one.done_writing()
        assert await open_one.read() is aio.EOF
        assert await answers(service, [item("next")])

    serve(check, uploads=1)


def test_a_stream_that_sends_nothing_makes_room_for_others():
    async def check(service):
        silent = service.photos.ReconstructStream()
        await silent.initial_metadata()
        ended = await failure(silent.read())
        assert (ended.code, ended.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "body-timeout")
        assert await answers(service, [item("next")])

    serve(check, uploads=1, body_timeout=0.2)


def test_a_stream_whose_photo_is_in_work_is_not_idle():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(service):
        call = service.photos.ReconstructStream()
        await call.write(item("slow"))
        await wait_started(reconstructor)
        await asyncio.sleep(0.5)
        assert not call.done()
        reconstructor.detector.hold.set()
        assert (await call.read()).response.faces
        assert (await failure(call.read())).reason == "body-timeout"

    serve(check, reconstructor, body_timeout=0.2)


def test_a_stream_ends_before_its_connection_is_cut(monkeypatch):
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()
    monkeypatch.setattr(grpc_stream, "LONGEST_SECONDS", 0.3)

    async def check(service):
        call = service.photos.ReconstructStream()
        await call.write(item("received"))
        await wait_started(reconstructor)
        await asyncio.sleep(0.4)
        reconstructor.detector.hold.set()
        assert (await call.read()).response.faces
        ended = await failure(call.read())
        assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "draining")
        assert "another one" in ended.message
        assert (await service.photos.Reconstruct(request())).faces

    serve(check, reconstructor)
    monkeypatch.undo()
    settings = make_settings(body_timeout=40.0, request_timeout=50.0)
    grace = dict(server_options(settings))["grpc.max_connection_age_grace_ms"]
    assert grace > 1000 * (grpc_stream.LONGEST_SECONDS + 90)


def test_what_is_wrong_with_a_photo_of_a_stream_is_told_before_it_costs_anything():
    async def check(service):
        wrong = [
            item("none", content=None),
            item("small", minimum_size=-1),
            item("elsewhere", url="https://example.com/me.jpg"),
            reconstruction_pb2.ReconstructStreamRequest(id="late", request=request(), timeout_seconds=-1),
        ]
        found = await answers(service, wrong, metadata=(("x-api-key", KEY),))
        reasons = {name: details_of(answer.error).reason for name, answer in found.items()}
        assert reasons == {
            "none": "invalid-request",
            "small": "invalid-request",
            "elsewhere": "url-input-disabled",
            "late": "invalid-request",
        }
        good = [item(name) for name in "ab"]
        found = await answers(service, good, metadata=(("x-api-key", KEY),))
        assert all(answer.response.faces for answer in found.values())
        assert service.count("key_photos_total", key="tester") == 2

    serve(check, api_keys=LIMITED)


def test_each_photo_of_a_stream_may_have_a_time_of_its_own():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(service):
        short = reconstruction_pb2.ReconstructStreamRequest(
            id="short", request=request(), timeout_seconds=0.2
        )
        call = service.photos.ReconstructStream(iter([short, item("long")]))
        late = await call.read()
        assert late.id == "short"
        assert details_of(late.error).reason == "deadline-exceeded"
        reconstructor.detector.hold.set()
        patient = await call.read()
        assert patient.id == "long"
        assert patient.response.faces

    serve(check, reconstructor)

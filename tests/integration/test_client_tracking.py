"""A video over the client: frames in, answers in turn."""

import pytest
from client_service import serving
from gateway_support import photo_bytes
from test_gateway_grpc_tracking import BLACK, Follower

from inversefacenet.client import AsyncClient, Client, ConnectionSettingsError
from inversefacenet.errors import InputError, UnsupportedImageError

KINDS = ("sync", "async")


@pytest.fixture(scope="module")
def service():
    with serving(Follower()) as running:
        yield running


def track(service, kind, frames, **options):
    """Ask a client of one kind; returns all answers."""
    address = service.address("grpc")
    if kind == "sync":
        with Client(address) as client:
            return list(client.track(frames, **options))

    async def run():
        async with AsyncClient(address) as client:
            return [answer async for answer in client.track(frames, **options)]

    return run_in(service, run())


def run_in(service, coroutine):
    import asyncio

    return asyncio.run_coroutine_threadsafe(coroutine, service.loop).result(60)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_answered_in_turn(service, kind):
    photo = photo_bytes()
    frames = [(10.0, photo), (10.04, photo), (10.08, BLACK), (10.12, b"none"), (10.5, photo)]
    found = track(service, kind, frames, least_confidence=0.0, single_frames=True)
    assert [answer.state for answer in found] == ["detected", "tracking", "lost", "lost", "detected"]
    assert [answer.index for answer in found] == list(range(5))
    assert [answer.seconds for answer in found] == [10.0, 10.04, 10.08, 10.12, 10.5]
    first, lost, broken = found[0], found[2], found[3]
    assert first.person == 1
    assert first.face.landmarks.shape == first.found_landmarks.shape == (68, 2)
    assert first.network_parameters.rotation[0] == pytest.approx(200 / 255)
    assert first.face.quality.photometric > 0
    assert (lost.face, lost.error, lost.person) == (None, None, 0)
    assert isinstance(broken.error, UnsupportedImageError)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_caller_s_frames_raise_reaches_the_caller(service, kind):
    def frames():
        yield 0.0, photo_bytes()
        raise KeyError("the camera is gone")

    with pytest.raises(KeyError, match="camera"):
        track(service, kind, frames())


@pytest.mark.parametrize("kind", KINDS)
def test_options_are_checked_before_anything_is_sent(service, kind):
    for wrong in ({"least_confidence": 1.5}, {"minimum_size": float("nan")}, {"minimum_size": 20_000}):
        with pytest.raises(InputError):
            track(service, kind, [], **wrong)


def test_tracking_needs_grpc(service):
    with (
        Client(service.address("http")) as client,
        pytest.raises(ConnectionSettingsError, match="grpc://"),
    ):
        client.track([])


def test_a_caller_may_stop_early(service):
    def frames():
        number = 0
        while True:
            yield 0.04 * number, photo_bytes()
            number += 1

    with Client(service.address("grpc")) as client:
        answers = client.track(frames())
        assert [next(answers).index for _ in range(3)] == [0, 1, 2]
        answers.close()
        assert client.ready()

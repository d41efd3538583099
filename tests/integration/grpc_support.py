"""A gateway with its gRPC port open on the loopback address, and what tests ask of its answers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest
from gateway_support import FakeReconstructor, make_settings, metric, photo_bytes
from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status

from inversefacenet.v1 import reconstruction_pb2
from inversefacenet.v1.model_pb2_grpc import ModelServiceStub
from inversefacenet.v1.reconstruction_pb2_grpc import ReconstructionServiceStub
from inversefacenet.v1.rendering_pb2_grpc import RenderingServiceStub
from services.gateway.gateway import Gateway

SECONDS = 60
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
RECONSTRUCT = "/inversefacenet.v1.ReconstructionService/Reconstruct"
STREAM = "/inversefacenet.v1.ReconstructionService/ReconstructStream"


@dataclass
class Service:
    """A running gateway and a channel to it."""

    gateway: Gateway
    channel: aio.Channel

    def __post_init__(self):
        self.photos = ReconstructionServiceStub(self.channel)
        self.renderings = RenderingServiceStub(self.channel)
        self.models = ModelServiceStub(self.channel)

    def count(self, name, **labels):
        return metric(self.gateway.metrics.render().decode(), f"inversefacenet_{name}", **labels) or 0


@asynccontextmanager
async def opened(reconstructor=None, credentials=None, remote=None, **changes):
    settings = make_settings(grpc_port=0, **changes)
    gateway = Gateway(settings, reconstructor or FakeReconstructor(), remote)
    await gateway.open()
    address = f"127.0.0.1:{gateway.grpc_port}"
    try:
        if credentials is None:
            channel = aio.insecure_channel(address, options=UNLIMITED)
        else:
            channel = aio.secure_channel(address, credentials, options=UNLIMITED)
        async with channel:
            yield Service(gateway, channel)
    finally:
        await gateway.close()


def serve(check, reconstructor=None, **changes):
    """Run an asynchronous check against a fresh gateway."""

    async def run():
        async with opened(reconstructor, **changes) as service:
            await check(service)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def request(**changes):
    return reconstruction_pb2.ReconstructRequest(**{"content": photo_bytes(), **changes})


@dataclass
class Failure:
    """An error and its details."""

    code: grpc.StatusCode
    message: str
    reason: str
    request_id: str
    retry: float | None
    fields: dict[str, str]


def details_of(status):
    """Read a google.rpc.Status."""
    found = {}
    for detail in status.details:
        name = detail.TypeName().removeprefix("google.rpc.")
        message = getattr(error_details_pb2, name)()
        assert detail.Unpack(message)
        found[name] = message
    info = found["ErrorInfo"]
    assert info.domain == "inversefacenet"
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    retry = found["RetryInfo"].retry_delay.ToTimedelta().total_seconds() if "RetryInfo" in found else None
    bad = found["BadRequest"].field_violations if "BadRequest" in found else ()
    fields = {violation.field: violation.description for violation in bad}
    return Failure(code, status.message, info.reason, found["RequestInfo"].request_id, retry, fields)


async def failure(call):
    """Return how a call fails."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    error = caught.value
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code()}: {error.details()} came without details"
    assert (status.code, status.message) == (error.code().value[0], error.details())
    found = details_of(status)
    trailing = dict(error.trailing_metadata())
    assert trailing["x-request-id"] == found.request_id
    # Clients that retry by themselves read it here.
    pushback = trailing.get("grpc-retry-pushback-ms")
    assert (pushback is None) == (found.retry is None)
    assert pushback is None or int(pushback) == round(1000 * found.retry)
    return found


async def until(condition):
    """Wait until something holds that is about to."""
    while not condition():
        await asyncio.sleep(0.005)

"""One long-lived gRPC channel to a Triton server, on the event loop that it was made on.

The channel connects with the first call and reconnects by itself. Whatever fails is an error from
`triton_errors`, and comes by the caller's deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.backends.triton_errors import (
    Cause,
    TritonError,
    closed,
    late,
    region_known,
    region_unknown,
    translate,
)
from inversefacenet.backends.triton_memory import CROP_BYTES, SharedCrops
from inversefacenet.backends.triton_model import PARAMETER_COUNT, ServedModel, read_model
from inversefacenet.errors import MissingDependencyError

# Seconds for which the server's description of the model is trusted; a failure or a new version ends it.
DESCRIPTION_SECONDS: Final = 10.0
CLOSING_SECONDS: Final = 2.0
CHANNEL: Final = (
    # A server that is back must be found within 2 s: attempts are at most half a second apart, and one that
    # gets no answer gives way to the next after a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    # A host that is gone without a word is noticed by what it leaves unanswered while requests wait. With
    # more pings than these, a server with default settings ends the connection.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # The model's batch size limits a request.
    ("grpc.max_send_message_length", -1),
    # gRPC would otherwise share one connection, and its state, between channels to one address.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True)
class TritonTls:
    """TLS to the server.

    Attributes:
        ca: PEM file with the authorities that the server's certificate may come from; None for the system's.
        certificate: PEM file with a certificate of our own, where the server asks for one.
        key: PEM file with its private key.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


class TritonConnection:
    """Speaks to one model; for tasks of one event loop.

    Attributes:
        version: The version that answered last.
        digest: SHA-256 of that version's ONNX file, or "" if the server doesn't say.
    """

    def __init__(
        self, url: str, model: str, version: str, shared_memory: bool, tls: TritonTls | None = None
    ) -> None:
        """Make the channel, which connects later; must be called on the running event loop.

        Args:
            url: Host and port of the server's gRPC.
            model: The model's name.
            version: A version to insist on, or "" for the newest.
            shared_memory: Whether crops go through system shared memory.
            tls: How to speak TLS; None speaks none.

        Raises:
            MissingDependencyError: If Triton's client isn't installed.
        """
        try:
            import tritonclient.grpc.aio as grpc
        except ImportError as error:
            raise MissingDependencyError(
                "Inference at Triton needs its client, which is not installed", extra="triton"
            ) from error
        self._grpc = grpc
        self._url, self._model, self._asked_version = url, model, version
        self.version, self.digest = version, ""
        self._loop = asyncio.get_running_loop()
        self._served: ServedModel | None = None
        self._trusted_until = 0.0
        self._describing = asyncio.Lock()
        self._registering = asyncio.Lock()
        self._memory = SharedCrops() if shared_memory else None
        files = (
            {}
            if tls is None
            else {
                "ssl": True,
                "root_certificates": _text(tls.ca),
                "certificate_chain": _text(tls.certificate),
                "private_key": _text(tls.key),
            }
        )
        self._client = grpc.InferenceServerClient(url, channel_args=list(CHANNEL), **files)
        self._closed = False

    async def infer(
        self,
        crops: UInt8[np.ndarray, "faces 240 240 3"],
        seconds: float,
        metadata: Mapping[str, str] | None = None,
    ) -> Float32[np.ndarray, "faces 350"]:
        """Run the network, with as many requests as the model's batch size asks for.

        Args:
            crops: The crops; none is fine.
            seconds: Time in which all must be answered.
            metadata: Sent with each request.

        Raises:
            TritonError: If Triton gives no answer, or none that can be used.
            DeadlineError: If it gives none in time.
        """
        answers = np.empty((len(crops), PARAMETER_COUNT), np.float32)
        deadline = self._loop.time() + seconds
        with self._failures_named():
            async with asyncio.timeout_at(deadline):
                first = 0
                while first < len(crops):
                    served = await self._described(deadline)
                    part = crops[first : first + served.max_batch_size]
                    answers[first : first + len(part)] = await self._request(part, served, deadline, metadata)
                    first += len(part)
        return answers

    async def describe(self, seconds: float) -> ServedModel:
        """Ask the server for its model, and check that it is the network.

        Args:
            seconds: Time in which it must answer.

        Raises:
            TritonError: If Triton gives no answer, or serves something else.
            DeadlineError: If it gives none in time.
        """
        deadline = self._loop.time() + seconds
        with self._failures_named():
            async with asyncio.timeout_at(deadline):
                self._trusted_until = 0.0
                return await self._described(deadline)

    async def close(self) -> None:
        """End the connection and remove shared memory; what is in flight may fail. Again is fine."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._memory is not None and self._memory.registered:
                await self._unregister(self._memory)
        finally:
            if self._memory is not None:
                self._memory.close()
            await self._client.close()

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        """Turn what the client raises into this package's errors."""
        try:
            if self._closed:
                raise closed()
            yield
        except TimeoutError:
            raise late(self._url) from None
        except self._grpc.InferenceServerException as error:
            named = translate(error.status() or "", error.message(), self._url, self._model)
            if isinstance(named, TritonError) and named.cause is not Cause.OVERLOADED:
                self._trusted_until = 0.0
            raise named from error
        except asyncio.CancelledError:
            # Closing the channel cancels its calls, though nobody has cancelled those who wait for them.
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise closed() from None
            raise
        except Exception as error:
            # What was under way when the connection was closed finds its client or its memory gone.
            if self._closed:
                raise closed() from error
            raise

    async def _described(self, deadline: float) -> ServedModel:
        """Return the server's description, asked for anew if it isn't trusted any more."""
        async with self._describing:
            if self._served is not None and self._loop.time() < self._trusted_until:
                return self._served
            name, version, ask = self._model, self._asked_version, self._client
            answer = await ask.get_model_config(name, version, client_timeout=self._left(deadline))
            loaded = await ask.get_model_metadata(name, version, client_timeout=self._left(deadline))
            served = read_model(answer.config, loaded.versions, version)
            self._served, self._trusted_until = served, self._loop.time() + DESCRIPTION_SECONDS
            self.version, self.digest = served.version, served.digest(served.version)
            return served

    async def _request(
        self,
        crops: UInt8[np.ndarray, "faces 240 240 3"],
        served: ServedModel,
        deadline: float,
        metadata: Mapping[str, str] | None,
    ) -> Float32[np.ndarray, "faces 350"]:
        """Send one request, by shared memory if there is room, else in the message."""
        tensor = self._grpc.InferInput(served.input_name, list(crops.shape), "UINT8")
        memory = self._memory
        slot = memory.take(crops) if memory is not None else None
        if memory is None or slot is None:
            tensor.set_data_from_numpy(crops)
            return await self._send(tensor, served, deadline, metadata)
        try:
            tensor.set_shared_memory(memory.name, crops.size, slot * CROP_BYTES)
            await self._register(memory, deadline)
            try:
                return await self._send(tensor, served, deadline, metadata)
            except self._grpc.InferenceServerException as error:
                if not region_unknown(error.message()):
                    raise
            # The server was started anew and has forgotten the region.
            memory.registered = False
            await self._register(memory, deadline)
            return await self._send(tensor, served, deadline, metadata)
        finally:
            memory.give_back(slot, len(crops))

    async def _send(
        self, tensor: Any, served: ServedModel, deadline: float, metadata: Mapping[str, str] | None
    ) -> Float32[np.ndarray, "faces 350"]:
        left = self._left(deadline)
        result = await self._client.infer(
            self._model,
            [tensor],
            model_version=self._asked_version,
            # The server drops what is still in its queue by then: microseconds.
            timeout=int(left * 1e6),
            client_timeout=left,
            headers=dict(metadata) if metadata else None,
        )
        response = result.get_response()
        version = response.model_version or served.version
        if version != served.version:
            # Another version has taken over since the model was described.
            self._trusted_until = 0.0
            served = await self._described(deadline)
        self.version, self.digest = version, served.digest(version)
        return self._read(response, served, tensor.shape()[0])

    def _read(self, response: Any, served: ServedModel, count: int) -> Float32[np.ndarray, "faces 350"]:
        contents = {
            output.name: content
            for output, content in zip(response.outputs, response.raw_output_contents, strict=False)
            if output.datatype == "FP32"
        }
        content = contents.get(served.output_name, b"")
        if len(content) != count * PARAMETER_COUNT * 4:
            raise TritonError(
                f"Triton at {self._url} answered {count} crops with {len(content)} bytes, not with "
                f"{PARAMETER_COUNT} numbers each: look at the server's log and its numpy version.",
                Cause.ANSWER,
            )
        answers = np.frombuffer(content, "<f4").reshape(count, PARAMETER_COUNT)
        if not np.isfinite(answers).all():
            raise TritonError(
                f"Model {self._model} at Triton returned numbers that aren't finite: its file is damaged.",
                Cause.ANSWER,
            )
        return answers

    async def _register(self, memory: SharedCrops, deadline: float) -> None:
        """Tell the server of the region, unless it knows it."""
        async with self._registering:
            if memory.registered:
                return
            try:
                await self._client.register_system_shared_memory(
                    memory.name, memory.key, memory.size, client_timeout=self._left(deadline)
                )
            except self._grpc.InferenceServerException as error:
                status, message = error.status() or "", error.message()
                if not region_known(message):
                    if status in {"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"}:
                        raise
                    raise TritonError(
                        f"Triton at {self._url} can't open this shared memory: run both on one host, as "
                        "the same user and with one /dev/shm, or switch shared memory for Triton off "
                        f"({message}).",
                        Cause.REFUSED,
                    ) from error
            memory.registered = True

    async def _unregister(self, memory: SharedCrops) -> None:
        """Let the server forget the region, which it refuses while it still reads there."""
        end = self._loop.time() + CLOSING_SECONDS
        while self._loop.time() < end:
            try:
                await self._client.unregister_system_shared_memory(
                    memory.name, client_timeout=self._left(end)
                )
                return
            except self._grpc.InferenceServerException as error:
                if "in use" not in error.message():
                    return
            await asyncio.sleep(0.05)

    def _left(self, deadline: float) -> float:
        """Return the seconds until then; gRPC takes none that aren't more than 0."""
        return max(deadline - self._loop.time(), 1e-3)

"""The gRPC interface: a server on the event loop that also serves HTTP, opened and closed by the gateway."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.gateway.gateway import Gateway
from services.gateway.grpc_calls import CallInterceptor
from services.gateway.grpc_health import SERVICE as HEALTH
from services.gateway.grpc_health import Health
from services.gateway.grpc_services import SERVICES, Methods
from services.gateway.grpc_stream import LONGEST_SECONDS
from services.gateway.settings import PREFIX, Settings

# What a message holds beside the photo: options, landmarks, names.
MESSAGE_MARGIN: Final = 1024 * 1024

_KEEPALIVE_MS: Final = 30_000  # below the minute after which proxies and NAT usually forget a connection
_CLIENT_PING_MS: Final = 10_000  # clients may ping so often, with calls or without
_CONNECTION_AGE_MS: Final = 30 * 60_000
_GRACE_MARGIN_MS: Final = 60_000
_STREAMS: Final = 1024
_IDENTITY_ONLY: Final = 1


class GrpcServer:
    """Listens, answers, and leaves in an orderly way."""

    def __init__(self, gateway: Gateway) -> None:
        """Prepare; nothing listens yet."""
        self._gateway = gateway
        self._leaving = asyncio.Event()
        self._server: aio.Server | None = None
        self._health: Health | None = None

    async def start(self) -> int:
        """Begin to listen; call it in the event loop, once the gateway's engine is there.

        Returns:
            The port.

        Raises:
            OSError: If the port can't be had, or a file of the TLS settings can't be used.
        """
        gateway, settings = self._gateway, self._gateway.settings
        server = aio.server(interceptors=[CallInterceptor(gateway)], options=server_options(settings))
        server.add_generic_rpc_handlers(Methods(gateway, self._leaving).handlers())
        self._health = Health(gateway.engine, SERVICES, settings.probe_interval, self._leaving)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*SERVICES, HEALTH, reflection.SERVICE_NAME), server)
        port = _listen(server, settings)
        await server.start()
        self._server = server
        return port

    async def stop_serving(self) -> None:
        """Tell watchers that the service is going; calls are still taken, streams read no further."""
        self._leaving.set()
        # The watchers are tasks of this loop: let them speak before anything else happens.
        await asyncio.sleep(0)

    async def stop(self, grace: float) -> None:
        """Take no more calls, and return when those that run have ended.

        Args:
            grace: Seconds that they may take; then they are cancelled.
        """
        self._leaving.set()
        if self._health is not None:
            self._health.end()
        if self._server is not None:
            await self._server.stop(grace)


def server_options(settings: Settings) -> list[tuple[str, Any]]:
    """Return the server's settings in gRPC's own names."""
    largest = settings.max_body_bytes + MESSAGE_MARGIN
    return [
        ("grpc.max_receive_message_length", largest),
        # Answers are ours, and meshes of many faces may be larger than any photo.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", _STREAMS),
        # Two processes on one port would each get a part of the calls.
        ("grpc.so_reuseport", 0),
        # A compressed message is inflated before its size is checked, and photos don't get any smaller.
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS // 2),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _CLIENT_PING_MS),
        # Long-lived clients look for a server again now and then, so that new ones get their share.
        ("grpc.max_connection_age_ms", _CONNECTION_AGE_MS),
        # By then the last stream has ended itself and its photos are answered; what is left is cut.
        ("grpc.max_connection_age_grace_ms", _grace_ms(settings)),
    ]


def _grace_ms(settings: Settings) -> int:
    seconds = LONGEST_SECONDS + settings.body_timeout + settings.request_timeout
    return math.ceil(1000 * seconds) + _GRACE_MARGIN_MS


def _listen(server: aio.Server, settings: Settings) -> int:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.grpc_port}"
    credentials = _credentials(settings)
    try:
        if credentials is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, credentials))
    except RuntimeError as error:
        raise OSError(
            f"Can't listen for gRPC on {address}: the port may be taken, or a file of the TLS settings may "
            f"hold no certificate or key. Choose another {PREFIX}GRPC_PORT or {PREFIX}HOST, or check "
            f"{PREFIX}TLS_*."
        ) from error


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Return the server's certificate and whom it trusts; None where it speaks no TLS."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
    if settings.tls_client_ca is None:
        return grpc.ssl_server_credentials([pair])
    authorities = settings.tls_client_ca.read_bytes()
    return grpc.ssl_server_credentials([pair], authorities, require_client_auth=True)

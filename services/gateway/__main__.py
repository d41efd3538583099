"""`python -m services.gateway`: serve until SIGTERM or SIGINT, then finish what was accepted and stop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from inversefacenet.errors import InverseFaceNetError
from services.gateway.app import create_app
from services.gateway.gateway import Gateway
from services.gateway.logging_config import configure_logging
from services.gateway.settings import PREFIX, Settings, settings_table, unknown_variables

_STALLED_MILLISECONDS = 60_000

logger = logging.getLogger("services.gateway")


def main() -> int:
    """Run the service.

    Returns:
        0 after an orderly end; 1 if it couldn't start, with the reason on standard error.
    """
    # gRPC's core reads this when it is first imported; else it writes lines of its own between ours.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    parser = argparse.ArgumentParser(
        prog="python -m services.gateway",
        description="Serve face reconstruction over HTTP and gRPC. Settings are environment variables:",
        epilog=settings_table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    try:
        settings = Settings()
    except ValidationError as error:
        return _fail(f"A setting is not valid. {_explain(error)}")
    configure_logging(settings.log_level)
    for name in unknown_variables():
        logger.warning("%s names no setting and is ignored", name)
    try:
        app = create_app(settings)
        listener = _listen(settings.host, settings.port)
        if settings.grpc_port:
            # Only looked at here, and closed: the models take seconds to load before gRPC listens.
            _listen(settings.host, settings.grpc_port, "GRPC_PORT").close()
        logger.info("starting", extra={"host": settings.host, "port": listener.getsockname()[1]})
    except (InverseFaceNetError, OSError) as error:
        return _fail(str(error))
    return asyncio.run(serve(app, listener, settings))


async def serve(app: FastAPI, listener: socket.socket, settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; a second one ends at once.

    Returns:
        0 after an orderly end; 1 if the service couldn't start.
    """
    server = _Server(
        uvicorn.Config(
            app,
            # Named, so that it is never left out: the parser in Python takes seconds over a flood of chunks.
            http="httptools",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=settings.keep_alive,
            timeout_graceful_shutdown=settings.drain,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
            ssl_ca_certs=str(settings.tls_client_ca) if settings.tls_client_ca else None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
        )
    )
    gateway: Gateway = app.state.gateway
    loop = asyncio.get_running_loop()
    opening = asyncio.ensure_future(gateway.open())
    going: list[asyncio.Task[None]] = []

    async def leave() -> None:
        # Load balancers are told first; only then does anyone find a closed door.
        await gateway.drain()
        server.should_exit = True

    def on_signal() -> None:
        if not opening.done():
            opening.cancel()
        elif going:
            logger.warning("ended by a second signal; what was accepted is not answered")
            # Workers end with the pipe to this process.
            os._exit(1)
        else:
            going.append(asyncio.ensure_future(leave()))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    # Before uvicorn, so that the last line of a start that failed says why.
    try:
        await opening
    except asyncio.CancelledError:
        return 0
    except (InverseFaceNetError, OSError) as error:
        return _fail(str(error))
    await server.serve(sockets=[listener])
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    """uvicorn's server with the signals left to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _listen(host: str, port: int, setting: str = "PORT") -> socket.socket:
    """Bind the address before anything is loaded, so that a taken port is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY on what is accepted here. Without it the end of each
    # answer on a connection that is kept would wait 40 ms for the client's acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # A caller that takes nothing of its answer for so long is cut off, and the answer let go.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_MILLISECONDS)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(
            f"Can't listen on {host}:{port}: {error.strerror}. "
            f"Choose another {PREFIX}{setting} or {PREFIX}HOST."
        ) from error
    return listener


def _explain(error: ValidationError) -> str:
    problems = []
    for entry in error.errors(include_url=False):
        # One that several settings together have has no place, and names them itself.
        name = "_".join(str(part) for part in entry["loc"]).upper()
        message = entry["msg"].removeprefix("Value error, ").rstrip(".")
        problems.append(f"{PREFIX}{name}: {message}." if name else f"{message}.")
    return " ".join(problems)


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

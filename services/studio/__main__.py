"""`python -m services.studio`: serve the page until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from types import FrameType
from typing import Any

import uvicorn
from pydantic import ValidationError

from inversefacenet.errors import InverseFaceNetError
from services.studio.app import create_app
from services.studio.settings import PREFIX, Settings, settings_table, unknown_variables

logger = logging.getLogger("services.studio")


def main() -> int:
    """Run the studio.

    Returns:
        0 after an orderly end; 1 if it couldn't start, with the reason on standard error.
    """
    # Visitors are the parallelism: threads within one face's small matrix products get in each other's way.
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(
        prog="python -m services.studio",
        description="Serve the page on which faces are edited. Settings are environment variables:",
        epilog=settings_table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", help=f"address to listen on, in place of {PREFIX}HOST")
    parser.add_argument("--port", type=int, help=f"port to listen on, in place of {PREFIX}PORT")
    given: dict[str, Any] = {
        name: value for name, value in vars(parser.parse_args()).items() if value is not None
    }
    try:
        settings = Settings(**given)
    except ValidationError as error:
        return _fail(f"A setting is not valid. {_explain(error)}")
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("numba", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for name in unknown_variables():
        logger.warning("%s names no setting and is ignored", name)
    try:
        listener = _listen(settings.host, settings.port)
        app = create_app(settings)
    except (InverseFaceNetError, OSError) as error:
        return _fail(str(error))
    return _serve(app, listener, settings)


def _serve(app: Any, listener: socket.socket, settings: Settings) -> int:
    scheme = "https" if settings.tls_certificate else "http"
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=10,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
        )
    )
    address = f"{scheme}://{settings.host}:{listener.getsockname()[1]}/"
    logger.info("loading; then the studio is at %s", address)
    # uvicorn sends itself the signal that ended it once more: a process that was told to stop and did so in
    # order would end as one that was killed.
    before = {number: signal.signal(number, _ended) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if server.started else 1


def _ended(number: int, frame: FrameType | None) -> None:
    """Leave a signal at that."""


def _listen(host: str, port: int) -> socket.socket:
    """Bind the address before anything is loaded, so that a taken port is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY on what is accepted here.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(
            f"Can't listen on {host}:{port}: {error.strerror}. Choose another {PREFIX}PORT or {PREFIX}HOST."
        ) from error
    return listener


def _explain(error: ValidationError) -> str:
    return " ".join(
        f"{PREFIX}{'_'.join(str(part) for part in entry['loc']).upper()}: {entry['msg']}."
        for entry in error.errors(include_url=False)
    )


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

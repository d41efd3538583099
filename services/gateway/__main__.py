"""`python -m services.gateway`: serve until SIGTERM or SIGINT, then finish what was accepted and stop."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
from types import FrameType

import uvicorn
from pydantic import ValidationError

from inversefacenet.errors import InverseFaceNetError
from services.gateway.app import create_app
from services.gateway.logging_config import configure_logging
from services.gateway.settings import PREFIX, Settings, settings_table, unknown_variables

logger = logging.getLogger("services.gateway")


def main() -> int:
    """Run the service.

    Returns:
        0 after an orderly end; 1 if it couldn't start, with the reason on standard error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m services.gateway",
        description="Serve face reconstruction over HTTP. Settings are environment variables:",
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
    except (InverseFaceNetError, OSError) as error:
        return _fail(str(error))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=settings.keep_alive,
            timeout_graceful_shutdown=settings.drain,
        )
    )
    # uvicorn drains on these signals and then raises them again; by then all is done.
    signal.signal(signal.SIGTERM, _ignore)
    signal.signal(signal.SIGINT, _ignore)
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing."""


def _listen(host: str, port: int) -> socket.socket:
    """Bind the address before anything is loaded, so that a taken port is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(
            f"Can't listen on {host}:{port}: {error.strerror}. Choose another {PREFIX}PORT or {PREFIX}HOST."
        ) from error
    logger.info("starting", extra={"host": host, "port": listener.getsockname()[1]})
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

"""`--server`: the options that name a service, and the client that they make."""

from __future__ import annotations

import argparse
import math
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inversefacenet.cli.output import complain, load_face_model
from inversefacenet.errors import InputError, InverseFaceNetError

if TYPE_CHECKING:
    from inversefacenet.client import Client
    from inversefacenet.morphable_model import MorphableModel

KEY_VARIABLE: Final = "IFN_API_KEY"

_REASONS: Final = {
    "quota-exceeded": "the quota is used up",
    "overloaded": "the server is busy",
    "draining": "the server is shutting down",
}


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add --server and what belongs to it."""
    group = parser.add_argument_group("with a server")
    group.add_argument(
        "--server",
        metavar="URL",
        help="let a service do the work: http://host:port, https://host, grpc://host:port or grpcs://host:port",
    )
    group.add_argument(
        "--api-key-env",
        metavar="NAME",
        help=f"environment variable with the API key (default: {KEY_VARIABLE}, if it is set)",
    )
    group.add_argument(
        "--timeout",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long an answer may take (default: 60)",
    )
    group.add_argument("--tls-ca", type=Path, metavar="PEM", help="authorities to trust, not the system's")
    group.add_argument("--tls-certificate", type=Path, metavar="PEM", help="own certificate (mutual TLS)")
    group.add_argument("--tls-key", type=Path, metavar="PEM", help="its private key")
    group.add_argument(
        "--allow-plaintext",
        action="store_true",
        help="send the key although the connection is not encrypted and leaves this machine",
    )


class WaitNotice:
    """Says why nothing happens while the client waits because the server refused a request.

    Several photos are under way at once, and wait for the same reason: one line is enough for all of them.
    """

    def __init__(self) -> None:
        """Nobody waits yet."""
        self._lock = threading.Lock()
        self._until = -math.inf

    def __call__(self, seconds: float, error: InverseFaceNetError) -> None:
        """Tell of a pause, unless one that was told of lasts still.

        Args:
            seconds: How long it is.
            error: Why; nothing is said of a connection that is merely tried again.
        """
        from inversefacenet.client.errors import problem_of

        problem = problem_of(error)
        if problem is None:
            return
        now = time.monotonic()
        with self._lock:
            if now < self._until:
                return
            self._until = now + seconds
        reason = _REASONS.get(problem.code) or problem.detail.rstrip(".")
        complain(f"waiting {math.ceil(seconds)} s: {reason}")


def open_client(options: argparse.Namespace) -> Client:
    """Return a client of the server that the command names.

    Raises:
        InverseFaceNetError: If address, key or certificates can't be used, or a package is missing.
    """
    from inversefacenet.client import Client, Tls

    key = os.environ.get(options.api_key_env or KEY_VARIABLE)
    if options.api_key_env and not key:
        raise InputError(f"The environment variable {options.api_key_env} holds no API key: set it.")
    files = (options.tls_ca, options.tls_certificate, options.tls_key)
    return Client(
        options.server,
        api_key=key or None,
        timeout=options.timeout,
        tls=Tls(*files) if any(files) else None,
        allow_plaintext=options.allow_plaintext,
        on_wait=WaitNotice(),
    )


def same_face_model(client: Client, path: Path | None) -> MorphableModel | None:
    """Return the named or shipped face model if the server works with the same; else None.

    Raises:
        InverseFaceNetError: If the server doesn't answer, or the file is no face model.
    """
    served = {model.face_model.digest for model in client.models()}
    model = load_face_model(path)
    return model if model.digest in served else None


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no positive number of seconds")
    return number

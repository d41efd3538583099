"""A server over HTTP. This module alone knows httpx; it is loaded when a connection is opened."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

from inversefacenet import __version__
from inversefacenet.client import rest_answers as answers
from inversefacenet.client import rest_edits as edits
from inversefacenet.client import rest_requests as requests
from inversefacenet.client.address import Tls
from inversefacenet.client.connection import Setup
from inversefacenet.client.edits import EditJob, EditOptions, EditResult
from inversefacenet.client.errors import ServiceUnavailableError
from inversefacenet.client.requests import PhotoJob, RenderJob
from inversefacenet.client.rest_answers import HttpAnswer
from inversefacenet.client.rest_lanes import GROUP, AsyncRestLane, RestLane
from inversefacenet.client.rest_requests import HttpRequest
from inversefacenet.client.results import Model, ReconstructionResult
from inversefacenet.client.retry import Deadline, RefusedError, too_late

TIMEOUT_HEADER: Final = "X-Request-Timeout"

_CONNECTIONS: Final = 100
# Below what the service keeps an idle connection open for, so that it isn't closed under a new request.
_KEEP_SECONDS: Final = 30.0
_LEAST_SECONDS: Final = 0.001
# What httpx's transport reports of a request that it couldn't hand over as a whole.
_CUT_OFF: Final = ("http11.send_request_headers.failed", "http11.send_request_body.failed")


class _TimeLeft(dict[str, float]):
    """The time limits of httpx's transport: each is what is left when the transport asks for it."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def get(self, key: str, default: Any = None) -> float:
        return max(self._deadline.remaining(), _LEAST_SECONDS)

    def __getitem__(self, key: str) -> float:
        return self.get(key)


class _Sending:
    """Watches httpx hand a request over."""

    cut_off = False
    """The connection broke before all of it had left, so the server can't have begun."""

    def see(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of a step."""
        self.cut_off = self.cut_off or event in _CUT_OFF

    async def see_async(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of a step."""
        self.see(event, info)


class RestConnection:
    """A server over HTTP, for use from any thread."""

    group = GROUP

    def __init__(self, setup: Setup) -> None:
        """Prepare a pool of connections; each is opened when it is needed.

        Raises:
            ImportError: If httpx isn't installed.
            ConnectionSettingsError: If a TLS file can't be used.
        """
        self._httpx = _load_httpx()
        self._retries = setup.retries
        self._on_wait = setup.on_wait
        self._client = self._httpx.Client(**_options(self._httpx, setup))

    def reconstruct(self, job: PhotoJob, deadline: Deadline) -> ReconstructionResult:
        """Reconstruct a photo's faces; one attempt, see `connection.Connection`."""
        return answers.read_reconstruction(self.exchange(requests.reconstruct_request(job), deadline))

    def render(self, job: RenderJob, deadline: Deadline) -> bytes:
        """Draw a face."""
        request = requests.render_request(job)
        return answers.read_file(self.exchange(request, deadline), request.headers["Accept"])

    def edit(self, job: EditJob, deadline: Deadline) -> EditResult:
        """Edit a photo's faces."""
        return edits.read_edit(self.exchange(edits.edit_request(job), deadline))

    def edit_options(self, deadline: Deadline) -> EditOptions:
        """List what edits may name."""
        return edits.read_edit_options(self.exchange(edits.options_request(), deadline))

    def models(self, deadline: Deadline) -> tuple[Model, ...]:
        """List the networks."""
        return answers.read_models(self.exchange(requests.models_request(), deadline))

    def ready(self, deadline: Deadline) -> bool:
        """Return whether the server says that it answers."""
        return answers.read_ready(self.exchange(requests.ready_request(), deadline))

    def lane(self, in_flight: int) -> RestLane:
        """Open what carries many photos."""
        return RestLane(self.exchange, in_flight, self._retries, self._on_wait)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def exchange(self, request: HttpRequest, deadline: Deadline) -> HttpAnswer:
        """Send a request once and return what comes back, whatever its status.

        Raises:
            RefusedError: If the connection failed before the server can have begun.
            DeadlineError: If the time runs out.
            ServiceUnavailableError: If the connection failed otherwise.
        """
        sending = _Sending()
        built = _build(self._client, request, deadline, sending.see)
        try:
            response = self._client.send(built, stream=True)
            try:
                chunks = []
                for chunk in response.iter_bytes():
                    chunks.append(chunk)
                    deadline.check()
            finally:
                response.close()
        except self._httpx.TimeoutException as error:
            raise too_late() from error
        except self._httpx.TransportError as error:
            raise _lost(self._httpx, error, request, sending) from error
        return HttpAnswer(response.status_code, _headers(response), b"".join(chunks))


class AsyncRestConnection:
    """A server over HTTP, for one event loop."""

    group = GROUP

    def __init__(self, setup: Setup) -> None:
        """Prepare a pool of connections; each is opened when it is needed.

        Raises:
            ImportError: If httpx isn't installed.
            ConnectionSettingsError: If a TLS file can't be used.
        """
        self._httpx = _load_httpx()
        self._retries = setup.retries
        self._on_wait = setup.on_wait
        self._client = self._httpx.AsyncClient(**_options(self._httpx, setup))

    async def reconstruct(self, job: PhotoJob, deadline: Deadline) -> ReconstructionResult:
        """Reconstruct a photo's faces; one attempt, see `connection.Connection`."""
        answer = await self.exchange(requests.reconstruct_request(job), deadline)
        return answers.read_reconstruction(answer)

    async def render(self, job: RenderJob, deadline: Deadline) -> bytes:
        """Draw a face."""
        request = requests.render_request(job)
        return answers.read_file(await self.exchange(request, deadline), request.headers["Accept"])

    async def edit(self, job: EditJob, deadline: Deadline) -> EditResult:
        """Edit a photo's faces."""
        return edits.read_edit(await self.exchange(edits.edit_request(job), deadline))

    async def edit_options(self, deadline: Deadline) -> EditOptions:
        """List what edits may name."""
        return edits.read_edit_options(await self.exchange(edits.options_request(), deadline))

    async def models(self, deadline: Deadline) -> tuple[Model, ...]:
        """List the networks."""
        return answers.read_models(await self.exchange(requests.models_request(), deadline))

    async def ready(self, deadline: Deadline) -> bool:
        """Return whether the server says that it answers."""
        return answers.read_ready(await self.exchange(requests.ready_request(), deadline))

    def lane(self, in_flight: int) -> AsyncRestLane:
        """Open what carries many photos."""
        return AsyncRestLane(self.exchange, self._retries, self._on_wait)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def exchange(self, request: HttpRequest, deadline: Deadline) -> HttpAnswer:
        """Send a request once and return what comes back; see `RestConnection.exchange`."""
        sending = _Sending()
        built = _build(self._client, request, deadline, sending.see_async)
        try:
            async with asyncio.timeout(deadline.check()):
                response = await self._client.send(built, stream=True)
                try:
                    body = await response.aread()
                finally:
                    await response.aclose()
        except (TimeoutError, self._httpx.TimeoutException) as error:
            raise too_late() from error
        except self._httpx.TransportError as error:
            raise _lost(self._httpx, error, request, sending) from error
        return HttpAnswer(response.status_code, _headers(response), body)


def _load_httpx() -> ModuleType:
    import httpx

    return httpx


def _options(httpx: ModuleType, setup: Setup) -> dict[str, Any]:
    headers = {"User-Agent": f"inversefacenet/{__version__}"}
    if setup.api_key is not None:
        headers["Authorization"] = f"Bearer {setup.api_key}"
    options: dict[str, Any] = {
        "base_url": setup.address.text,
        "headers": headers,
        # What is meant for this machine is no business of a proxy.
        "trust_env": setup.transport is None and not setup.address.loopback,
        "transport": setup.transport,
        "follow_redirects": False,
        "limits": httpx.Limits(
            max_connections=_CONNECTIONS,
            max_keepalive_connections=_CONNECTIONS,
            keepalive_expiry=_KEEP_SECONDS,
        ),
    }
    if setup.address.secure:
        options["verify"] = (setup.tls or Tls()).context()
    return options


def _build(client: Any, request: HttpRequest, deadline: Deadline, see: Callable[..., Any]) -> Any:
    seconds = max(deadline.check(), _LEAST_SECONDS)
    return client.build_request(
        request.method,
        request.path,
        content=request.body if request.method == "POST" else None,
        headers={**request.headers, TIMEOUT_HEADER: f"{seconds:.3f}"},
        extensions={"timeout": _TimeLeft(deadline), "trace": see},
    )


def _headers(response: Any) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _lost(httpx: ModuleType, error: Exception, request: HttpRequest, sending: _Sending) -> Exception:
    lost = ServiceUnavailableError(
        f"The server can't be reached or broke off: {str(error) or type(error).__name__}."
    )
    lost.__cause__ = error
    if _is_tls(error):
        # A certificate that isn't trusted stays so.
        return lost
    # Reading costs nothing. Of what was handed over as a whole nobody knows how far the server has come.
    safe = isinstance(error, httpx.ConnectError) or sending.cut_off or request.method == "GET"
    return RefusedError(lost) if safe else lost


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False

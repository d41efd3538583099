"""What every call under /v1 begins with: who calls, is there room, how long may it take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Header, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, WithJsonSchema
from starlette.requests import ClientDisconnect

from services.gateway.access import Caller
from services.gateway.admission import identify
from services.gateway.deadline import Deadline
from services.gateway.gateway import Gateway
from services.gateway.negotiation import Offer, choose

ARRIVED: Final = "inversefacenet.arrived"
"""Member of the ASGI scope: when the request's head arrived, in seconds of `time.monotonic`."""

CALLER: Final = "inversefacenet.caller"
"""Member of the ASGI scope: the caller's name, for the log line."""

TIMEOUT_HEADER: Final = "X-Request-Timeout"

_MOST_UNKNOWN: Final = 20

Result = TypeVar("Result")


@dataclass(frozen=True)
class Call:
    """A call that is welcome; its body was not read yet.

    Attributes:
        request: The request.
        gateway: Answers it.
        caller: Who sends it.
        seconds: How long it may take as a whole.
        deadline: Until when.
    """

    request: Request
    gateway: Gateway
    caller: Caller
    seconds: float
    deadline: Deadline

    def choose(self, offers: Sequence[Offer]) -> tuple[Offer, str]:
        """Return the form of the answer and its media type, as the caller's `Accept` has it.

        Raises:
            NotAcceptableError: If none of them is acceptable.
        """
        return choose(",".join(self.request.headers.getlist("accept")), offers)


async def identified(request: Request) -> Caller:
    """Return who calls.

    Raises:
        UnauthenticatedError: If a key is needed, and the caller has shown none that is known.
    """
    caller = identify(request.app.state.gateway, request.headers)
    request.scope[CALLER] = caller.name
    return caller


async def welcome(
    request: Request,
    caller: Annotated[Caller, Depends(identified)],
    timeout: Annotated[
        float | None,
        WithJsonSchema({"type": "number", "exclusiveMinimum": 0}),
        Header(
            alias=TIMEOUT_HEADER,
            gt=0,
            allow_inf_nan=False,
            description="Seconds that the answer may take; `IFN_REQUEST_TIMEOUT` is the most. What isn't "
            "done by then is dropped and answered with 504.",
        ),
    ] = None,
) -> Call:
    """Return the call if there is room for the work that it asks for.

    Raises:
        OverloadedError: If there is none.
        DrainingError: If the service is stopping.
    """
    gateway: Gateway = request.app.state.gateway
    gateway.engine.check_room()
    longest = gateway.settings.request_timeout
    seconds = longest if timeout is None else min(timeout, longest)
    arrived: float = request.scope.get(ARRIVED) or time.monotonic()
    return Call(request, gateway, caller, seconds, Deadline(arrived + seconds))


Identified = Annotated[Caller, Depends(identified)]
Welcome = Annotated[Call, Depends(welcome)]


def names_of(model: type[BaseModel]) -> list[str]:
    """Return the names of a model's fields as callers write them, sorted."""
    return sorted(info.alias or name for name, info in model.model_fields.items())


def check_query(request: Request, options: type[BaseModel] | None = None) -> None:
    """Refuse parameters of the query that don't exist: one that is misspelt would go unnoticed.

    Args:
        request: A request.
        options: The parameters that its address takes; None if it takes none.

    Raises:
        RequestValidationError: If there are others.
    """
    known = names_of(options) if options is not None else []
    unknown = list(islice((name for name in request.query_params if name not in known), _MOST_UNKNOWN))
    if unknown:
        there_are = f"there are {', '.join(known)}" if known else "this address takes none in its query"
        message = "there is no such parameter"
        messages = [f"{message}; {there_are}"] + [message] * (len(unknown) - 1)
        raise RequestValidationError(
            [
                {"type": "value_error", "loc": ("query", name), "msg": message}
                for name, message in zip(unknown, messages, strict=True)
            ]
        )


async def until_disconnect(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work while its caller waits for it; call it after the body was read.

    Raises:
        ClientDisconnect: If the caller goes away first; the work is then dropped.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            # Whatever it raises on its way out, nobody is there to hear it.
            with suppress(BaseException):
                await working


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

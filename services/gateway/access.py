"""Who may call, and how many photos per minute: API keys, kept as hashes, and a token bucket for each.

`python -m services.gateway.access` makes a new key and prints its entry for `IFN_API_KEYS`.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import re
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from services.gateway.errors import UnauthenticatedError
from services.gateway.quota import TokenBucket

ANONYMOUS: Final = "anonymous"
CHALLENGE: Final = "Bearer"  # what WWW-Authenticate says in an answer of 401

_KEY_BYTES: Final = 32
_KEY_PREFIX: Final = "ifn_"  # lets scanners for leaked secrets recognise a key
_MISSING: Final = (
    "This service needs an API key: send it in the header 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."
)
_UNKNOWN: Final = (
    "The API key is not known here: check the one that was sent in the header 'Authorization: Bearer KEY' or "
    "'X-API-Key: KEY'."
)


class ApiKey(BaseModel):
    """One caller's key.

    The key itself is stored nowhere. It is 256 random bits, so that a plain SHA-256 can't be turned back.

    Attributes:
        sha256: SHA-256 of the key, 64 hexadecimal digits in lower case.
        photos_per_minute: How many photos a minute the caller may send in the long run; None: any number.
        burst: How many photos the caller may send at once after a pause; by default a minute's worth.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    photos_per_minute: float | None = Field(default=None, gt=0, le=1e9, allow_inf_nan=False)
    burst: int | None = Field(default=None, ge=1, le=1_000_000_000)

    @model_validator(mode="after")
    def _burst_needs_a_rate(self) -> Self:
        if self.burst is not None and self.photos_per_minute is None:
            raise ValueError("burst says nothing without photos_per_minute: set both or neither")
        return self


def _plain_name(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) is None:
        raise ValueError(
            "a name is 1 to 64 letters (a to z), digits, dots, hyphens or underscores, and begins with a "
            "letter or digit"
        )
    return name


def _distinct(keys: dict[str, ApiKey]) -> dict[str, ApiKey]:
    if ANONYMOUS in keys:
        raise ValueError(f"'{ANONYMOUS}' is what callers without a key are called: choose another name")
    if len({key.sha256 for key in keys.values()}) != len(keys):
        raise ValueError("two names have the same key: make one for each")
    return keys


# Names become labels of metrics and stand in log lines.
KeyName = Annotated[str, AfterValidator(_plain_name)]
ApiKeys = Annotated[dict[KeyName, ApiKey], AfterValidator(_distinct)]
"""The type of the setting: name of the caller -> its key."""


@dataclass(frozen=True)
class Caller:
    """Who sends a request.

    Attributes:
        name: The name that the operator gave the key; 'anonymous' where no keys are asked for.
    """

    name: str


class Access:
    """Knows the keys and what each has used. It belongs to one thread: the event loop's."""

    def __init__(self, keys: Mapping[str, ApiKey], clock: Callable[[], float] = time.monotonic) -> None:
        """Start with full buckets.

        Args:
            keys: Name of the caller -> its key; none at all lets everybody in.
            clock: Seconds that never run backwards.
        """
        self._hashes = {name: key.sha256 for name, key in keys.items()}
        self._buckets = {
            name: TokenBucket(key.photos_per_minute, key.burst, clock)
            for name, key in keys.items()
            if key.photos_per_minute is not None
        }

    @property
    def required(self) -> bool:
        """Whether callers must show a key."""
        return bool(self._hashes)

    def authenticate(self, offered: str | None) -> Caller:
        """Say whose key this is; it takes the same time whichever it is, and however nearly it matches.

        Args:
            offered: The key, as `read_key` found it.

        Raises:
            UnauthenticatedError: If keys are required and this is none of them.
        """
        if not self.required:
            return Caller(ANONYMOUS)
        if not offered:
            raise UnauthenticatedError(_MISSING)
        digest = hashlib.sha256(offered.encode("utf-8", "surrogatepass")).hexdigest()
        found: str | None = None
        for name, known in self._hashes.items():
            if hmac.compare_digest(digest, known):
                found = name
        if found is None:
            raise UnauthenticatedError(_UNKNOWN)
        return Caller(found)

    def spend(self, caller: Caller, photos: int = 1) -> None:
        """Charge photos to the caller, all of them or none.

        Args:
            caller: As `authenticate` returned it.
            photos: How many photos the request holds.

        Raises:
            QuotaError: If the caller's quota doesn't allow it now; `retry_after` says when it will.
            InputError: If it will never allow so many photos in one request.
        """
        bucket = self._buckets.get(caller.name)
        if bucket is not None:
            bucket.take(photos)

    def refund(self, caller: Caller, photos: int = 1) -> None:
        """Give back what was charged for photos that the service then refused, such as when overloaded."""
        bucket = self._buckets.get(caller.name)
        if bucket is not None:
            bucket.put_back(photos)


def read_key(headers: Mapping[str, str | bytes]) -> str | None:
    """Find the caller's key in HTTP headers or gRPC metadata.

    Args:
        headers: Names in lower case, or a mapping that ignores case.

    Returns:
        The key; None if there is none. An `Authorization` of another scheme than Bearer is not looked at:
        a proxy in front may have asked for it.

    Raises:
        UnauthenticatedError: If two different keys were sent.
    """
    scheme, _, credentials = _text(headers.get("authorization")).strip().partition(" ")
    bearer = credentials.strip() if scheme.lower() == "bearer" else ""
    plain = _text(headers.get("x-api-key")).strip()
    if bearer and plain and bearer != plain:
        raise UnauthenticatedError(
            "The headers 'Authorization' and 'X-API-Key' hold different keys: send one."
        )
    return bearer or plain or None


def _text(value: str | bytes | None) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value or ""


def new_key() -> str:
    """Return a fresh random key."""
    return _KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def entry(name: str, key: str, photos_per_minute: float | None = None, burst: int | None = None) -> str:
    """Return the JSON that lets a key in, for the setting `IFN_API_KEYS`.

    Raises:
        pydantic.ValidationError: If a value makes no sense.
    """
    digest = hashlib.sha256(key.encode()).hexdigest()
    fields = {"sha256": digest, "photos_per_minute": photos_per_minute, "burst": burst}
    keys = TypeAdapter(ApiKeys).validate_python({name: fields})
    return json.dumps({name: keys[name].model_dump(exclude_none=True)})


def _in_words(problem: ErrorDetails) -> str:
    """Name the argument that is wrong, where it is a single one, and say what is wrong."""
    message = problem["msg"].removeprefix("Value error, ")
    place = problem["loc"][-1] if problem["loc"] else "[key]"
    option = {"[key]": "--name: ", "photos_per_minute": "--photos-per-minute: ", "burst": "--burst: "}
    return option.get(str(place), "") + message


def main() -> int:
    """Make a key and print it with its entry.

    Returns:
        0; 2 if the arguments make no sense.
    """
    parser = argparse.ArgumentParser(
        prog="python -m services.gateway.access",
        description="Make an API key. Give the key to the caller; put the entry into IFN_API_KEYS.",
    )
    parser.add_argument("--name", default="caller", help="what the key is called in metrics and logs")
    parser.add_argument("--photos-per-minute", type=float, help="quota; without it there is none")
    parser.add_argument("--burst", type=int, help="photos at once after a pause; default: a minute's worth")
    arguments = parser.parse_args()
    key = new_key()
    try:
        line = entry(arguments.name, key, arguments.photos_per_minute, arguments.burst)
    except ValidationError as error:
        parser.error("; ".join(_in_words(problem) for problem in error.errors()))
    print(f"key: {key}", f"entry: {line}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

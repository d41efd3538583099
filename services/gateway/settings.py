"""Every setting of the service: environment variables with the prefix `IFN_`, or lines of a `.env` file."""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from inversefacenet.networks import NETWORKS, network_path
from services.gateway.access import ApiKeys

PREFIX = "IFN_"
_STUDIO = "IFN_STUDIO_"  # the studio has settings of its own


def available_cores() -> int:
    """Return the number of cores that this process may use, which a container may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_FILES = ("tls_certificate", "tls_key", "tls_client_ca", "triton_ca", "triton_certificate", "triton_key")


def is_loopback(host: str) -> bool:
    """Say whether an address is this machine's own, seen from no other."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """What an operator can set; `IFN_PORT=8080` sets `port`.

    Raises:
        pydantic.ValidationError: If a value can't be read or contradicts another one.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port to listen on; 0 lets the system choose one."
    )
    grpc_port: int | None = Field(
        default=50051,
        ge=0,
        le=65535,
        description="Port of the gRPC interface; 0 lets the system choose one, empty switches it off.",
    )
    api_keys: Annotated[ApiKeys, NoDecode] = Field(
        default_factory=dict,
        description="API keys and quotas as JSON, as `python -m services.gateway.access` prints them; none: "
        "no key is asked for.",
    )
    tls_certificate: Path | None = Field(
        default=None,
        description="PEM file with the server's certificate chain; with it REST and gRPC speak TLS.",
    )
    tls_key: Path | None = Field(default=None, description="PEM file with the certificate's private key.")
    tls_client_ca: Path | None = Field(
        default=None,
        description="PEM file with the authorities that clients' certificates must come from (mutual TLS).",
    )
    anonymous: bool = Field(
        default=False,
        description="Ask for no key although the service listens beyond this machine.",
    )
    plaintext: bool = Field(
        default=False,
        description="Speak no TLS beyond this machine: a proxy or the network itself guards what passes.",
    )
    backend: Literal["onnx", "triton"] = Field(
        default="onnx",
        description="Where the network runs: `onnx` inside the service, `triton` on a Triton server.",
    )
    model_path: Path | None = Field(
        default=None,
        description="The network: `fast`, `reference` (the paper's AlexNet) or an ONNX file; empty: `fast`.",
    )
    face_model_path: Path | None = Field(
        default=None,
        description="Face model file that the network was trained for; empty: the project's own.",
    )
    landmarks: Path | None = Field(
        default=None,
        description="Landmark predictor: a file, or `open` for the project's own; empty: the usual one.",
    )
    triton_url: str = Field(
        default="127.0.0.1:8001",
        pattern=r"^[^/\s]+:\d+$",
        description="Host and gRPC port of the Triton server.",
    )
    triton_tls: bool = Field(default=False, description="Speak TLS with Triton.")
    triton_ca: Path | None = Field(
        default=None,
        description="PEM file with the authorities of Triton's certificate; empty: the system's.",
    )
    triton_certificate: Path | None = Field(
        default=None, description="PEM file with a certificate to show Triton, if it asks for one."
    )
    triton_key: Path | None = Field(default=None, description="PEM file with that certificate's private key.")
    triton_model: str = Field(default="inversefacenet", min_length=1, description="The network's name there.")
    triton_version: str = Field(
        default="", pattern=r"^\d*$", description="Its version there; empty leaves the choice to the server."
    )
    triton_timeout: float = Field(
        default=10.0, gt=0, le=3600, description="Seconds that one inference there may take."
    )
    triton_shared_memory: bool = Field(
        default=False, description="Hand crops over in shared memory; for a Triton server on the same host."
    )
    isolation: Literal["processes", "threads"] = Field(
        default="processes",
        description="What a worker is: processes block and crash alone, threads take less memory.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Threads that one inference may use; 0 shares the cores among the workers.",
    )
    workers: int = Field(
        default_factory=available_cores,
        ge=1,
        le=256,
        description="Photos that are worked on at the same time.",
    )
    queue: int = Field(
        default=32,
        ge=0,
        le=100_000,
        description="Photos that may wait for a free worker; more are refused with 503.",
    )
    uploads: int = Field(
        default=64,
        ge=1,
        le=100_000,
        description="Bodies that may be received at the same time; more requests are refused with 503.",
    )
    request_timeout: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Seconds that the answer to a photo may take; callers may ask for less.",
    )
    max_photos: int = Field(default=16, ge=1, le=1000, description="Photos in one request; more get 413.")
    max_faces: int = Field(
        default=32, ge=1, le=1000, description="Faces reconstructed in one photo, the largest first."
    )
    minimum_face: float = Field(
        default=20.0,
        ge=1,
        le=10_000,
        description="Least width of a face in photo pixels; callers may ask for more.",
    )
    url_input: bool = Field(
        default=False, description="Fetch photos by https URL, from public addresses only."
    )
    url_timeout: float = Field(
        default=5.0, gt=0, le=300, description="Seconds that fetching a photo may take."
    )
    url_redirects: int = Field(
        default=3, ge=0, le=10, description="Redirects to follow when fetching a photo."
    )
    max_body_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1024,
        le=1024**3,
        description="Largest request body in bytes; a larger one gets 413.",
    )
    max_pixels: int = Field(
        default=64_000_000,
        ge=1,
        le=178_000_000,
        description="Largest photo in pixels; a larger one gets 413.",
    )
    body_timeout: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Seconds in which a request's body must have arrived; else 408.",
    )
    probe_interval: float = Field(
        default=2.0,
        ge=0,
        le=300,
        description="Seconds for which readiness trusts its last inference.",
    )
    probe_timeout: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="Seconds in which that inference must answer.",
    )
    keep_alive: int = Field(
        default=75,
        ge=1,
        le=3600,
        description="Seconds that an idle connection stays open; more than the proxy's.",
    )
    drain_delay: float = Field(
        default=0.0,
        ge=0,
        le=300,
        description="Seconds from SIGTERM, when readiness turns false, to the end of listening.",
    )
    otlp_endpoint: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="OpenTelemetry collector (OTLP over HTTP), as http://collector:4318; empty: no traces.",
    )
    studio_url: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="Address of the studio, which `GET /` and `/docs` then link to; empty: no link.",
    )
    drain: int = Field(
        default=30,
        ge=0,
        le=3600,
        description="Seconds that accepted requests may take to finish after SIGTERM.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log lines to write; `debug` adds health checks and scrapes."
    )

    @field_validator(*_FILES, "model_path", "face_model_path", "landmarks", "grpc_port", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _keys_are_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if not value.strip():
            return {}
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("it is no JSON: see `python -m services.gateway.access`") from None

    @field_validator("model_path")
    @classmethod
    def _network_by_name(cls, value: Path | None) -> Path | None:
        return network_path(value) if value is not None and str(value) in NETWORKS else value

    @field_validator("model_path", "face_model_path")
    @classmethod
    def _path_holds_everywhere(cls, value: Path | None) -> Path | None:
        return value.resolve() if value is not None else None

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)

    @property
    def inference_threads(self) -> int:
        """Threads of one inference: the cores shared among the workers, unless set."""
        return self.threads or max(1, available_cores() // self.workers)

    @model_validator(mode="after")
    def _model_file_exists(self) -> Self:
        for name in ("model_path", "face_model_path"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"{PREFIX}{name.upper()} names no file: {path}")
        return self

    @model_validator(mode="after")
    def _tls_is_complete(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError(
                f"{PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY belong together: set both or neither"
            )
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError(f"{PREFIX}TLS_CLIENT_CA needs {PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY")
        if (self.triton_certificate is None) != (self.triton_key is None):
            raise ValueError(
                f"{PREFIX}TRITON_CERTIFICATE and {PREFIX}TRITON_KEY belong together: set both or neither"
            )
        for name in _FILES:
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"{PREFIX}{name.upper()} names no file: {path}")
        return self

    @model_validator(mode="after")
    def _beyond_this_machine_is_guarded(self) -> Self:
        if self.loopback:
            return self
        if not self.api_keys and self.tls_client_ca is None and not self.anonymous:
            raise ValueError(
                f"{PREFIX}HOST={self.host} lets other machines in without a key: set {PREFIX}API_KEYS or "
                f"{PREFIX}TLS_CLIENT_CA, or {PREFIX}ANONYMOUS=true if everybody who reaches it may use it"
            )
        if self.tls_certificate is None and not self.plaintext:
            raise ValueError(
                f"{PREFIX}HOST={self.host} would send photos and keys over the network in the clear: set "
                f"{PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY, or {PREFIX}PLAINTEXT=true if a proxy in front "
                "speaks TLS"
            )
        return self

    @model_validator(mode="after")
    def _triton_is_guarded(self) -> Self:
        host = self.triton_url.rpartition(":")[0]
        if self.backend == "triton" and not (self.triton_tls or self.plaintext or is_loopback(host)):
            raise ValueError(
                f"{PREFIX}TRITON_URL={self.triton_url} would get faces over the network in the clear: set "
                f"{PREFIX}TRITON_TLS=true, or {PREFIX}PLAINTEXT=true if that network is yours alone"
            )
        return self

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        if self.url_timeout > self.request_timeout:
            raise ValueError(f"{PREFIX}URL_TIMEOUT is longer than {PREFIX}REQUEST_TIMEOUT allows")
        return self


def unknown_variables() -> list[str]:
    """Return environment variables that carry the prefix but name no setting: most likely misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(
        name
        for name in os.environ
        if name.upper().startswith(PREFIX)
        and not name.upper().startswith(_STUDIO)
        and name.upper() not in known
    )


def settings_table() -> str:
    """Return all settings as a Markdown table: variable, default, meaning."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        if field.default_factory is not None:
            default = {"workers": "all cores", "api_keys": "`{}`"}[name]
        else:
            default = "" if field.default in (None, "") else f"`{field.default}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)

"""Every setting of the studio: environment variables with the prefix `IFN_STUDIO_`, or lines of `.env`."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from inversefacenet.networks import NETWORKS, network_path

PREFIX = "IFN_STUDIO_"

_FILES = ("tls_certificate", "tls_key", "model_path", "face_model_path")


def available_cores() -> int:
    """Return the number of cores that this process may use, which a container may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_loopback(host: str) -> bool:
    """Say whether an address is this machine's own, seen from no other."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """What an operator can set; `IFN_STUDIO_PORT=9000` sets `port`.

    Raises:
        pydantic.ValidationError: If a value can't be read or contradicts another one.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(
        default=8080, ge=0, le=65535, description="Port to listen on; 0 lets the system choose one."
    )
    hosts: str = Field(
        default="",
        description="Names, separated by commas, under which browsers may reach the studio; empty: this "
        "machine's own on a loopback address, any elsewhere.",
    )
    anonymous: bool = Field(
        default=False,
        description="Listen beyond this machine although the studio asks nobody who they are.",
    )
    plaintext: bool = Field(
        default=False,
        description="Speak no TLS beyond this machine: a proxy in front does, or none is needed.",
    )
    tls_certificate: Path | None = Field(
        default=None,
        description="PEM file with the server's certificate chain. Beyond this machine browsers open the "
        "camera only over TLS.",
    )
    tls_key: Path | None = Field(default=None, description="PEM file with the certificate's private key.")
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
    photo_workers: int = Field(
        default=1, ge=1, le=64, description="Photos that are read and written at the same time."
    )
    edit_workers: int = Field(
        default_factory=available_cores,
        ge=1,
        le=64,
        description="Pictures that are edited at the same time; they never wait for new photos.",
    )
    queue: int = Field(
        default=32, ge=1, le=10_000, description="Pieces of work that may wait; more are refused with 503."
    )
    max_sessions: int = Field(
        default=16, ge=1, le=10_000, description="Photos that are held in memory at the same time."
    )
    max_memory_bytes: int = Field(
        default=2 * 1024**3,
        ge=16 * 1024**2,
        description="Memory that these photos may take in all, as estimated.",
    )
    session_idle: float = Field(
        default=900.0, gt=0, le=86_400, description="Seconds after which an unused photo is forgotten."
    )
    refine: int = Field(
        default=12,
        ge=0,
        le=30,
        description="Most steps by which a face is fitted more closely as its photo comes, some 0.1 s each; "
        "0 leaves the network's own answer.",
    )
    max_faces: int = Field(default=8, ge=1, le=64, description="Faces of a photo to choose from.")
    max_body_bytes: int = Field(
        default=24 * 1024 * 1024,
        ge=1024,
        le=1024**3,
        description="Largest photo in bytes; a larger one gets 413.",
    )
    max_pixels: int = Field(
        default=32_000_000,
        ge=1,
        le=178_000_000,
        description="Largest photo in pixels; a larger one gets 413.",
    )
    body_timeout: float = Field(
        default=60.0, gt=0, le=3600, description="Seconds in which a request's body must have arrived."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log lines to write."
    )

    @field_validator(*_FILES, "landmarks", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("model_path")
    @classmethod
    def _network_by_name(cls, value: Path | None) -> Path | None:
        return network_path(value) if value is not None and str(value) in NETWORKS else value

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the studio."""
        return is_loopback(self.host)

    @property
    def host_names(self) -> frozenset[str] | None:
        """Names that a request may address; None for any."""
        if self.hosts.strip():
            return frozenset(name.strip().lower() for name in self.hosts.split(",") if name.strip())
        return frozenset({"localhost", "127.0.0.1", "[::1]", self.host.lower()}) if self.loopback else None

    @model_validator(mode="after")
    def _files_exist(self) -> Self:
        for name in _FILES:
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"{PREFIX}{name.upper()} names no file: {path}")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError(
                f"{PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY belong together: set both or neither"
            )
        return self

    @model_validator(mode="after")
    def _beyond_this_machine_is_meant(self) -> Self:
        if self.loopback:
            return self
        if not self.anonymous:
            raise ValueError(
                f"{PREFIX}HOST={self.host} lets everybody in who reaches this machine: set "
                f"{PREFIX}ANONYMOUS=true if they may use it"
            )
        if self.tls_certificate is None and not self.plaintext:
            raise ValueError(
                f"{PREFIX}HOST={self.host} would send photos over the network in the clear: set "
                f"{PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY, or {PREFIX}PLAINTEXT=true if a proxy in front "
                "speaks TLS"
            )
        return self


def unknown_variables() -> list[str]:
    """Return environment variables that carry the prefix but name no setting: most likely misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(
        name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known
    )


def settings_table() -> str:
    """Return all settings as a Markdown table: variable, default, meaning."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        if field.default_factory is not None:
            default = "all cores"
        else:
            default = "" if field.default in (None, "") else f"`{field.default}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)

"""Every setting of the service: environment variables with the prefix `IFN_`, or lines of a `.env` file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "IFN_"


def available_cores() -> int:
    """Return the number of cores that this process may use, which a container may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """What an operator can set; `IFN_PORT=8080` sets `port`.

    Raises:
        pydantic.ValidationError: If a value can't be read or contradicts another one.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port to listen on; 0 lets the system choose one."
    )
    backend: Literal["onnx"] = Field(
        default="onnx", description="Inference backend: `onnx` runs the network inside the process."
    )
    model_path: Path | None = Field(
        default=None, description="ONNX file of the network; empty means the one that comes with the project."
    )
    threads: int = Field(
        default=0, ge=0, le=256, description="Threads that one inference may use; 0 lets ONNX Runtime choose."
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
    drain: int = Field(
        default=30,
        ge=0,
        le=3600,
        description="Seconds that accepted requests may take to finish after SIGTERM.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log lines to write; `debug` adds health checks and scrapes."
    )

    @field_validator("model_path", mode="before")
    @classmethod
    def _empty_path_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _model_file_exists(self) -> Self:
        if self.model_path is not None and not self.model_path.is_file():
            raise ValueError(f"{PREFIX}MODEL_PATH names no file: {self.model_path}")
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
            default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)

"""The one tree of errors. Callers catch the base; services read status and code from the class.

::

    InverseFaceNetError                 500 INTERNAL
    ├── InputError                      400 INVALID_ARGUMENT
    │   ├── ImageError                  400 INVALID_ARGUMENT
    │   │   ├── EmptyImageError         400 INVALID_ARGUMENT
    │   │   ├── UnsupportedImageError   415 INVALID_ARGUMENT
    │   │   ├── TruncatedImageError     400 INVALID_ARGUMENT
    │   │   └── ImageTooLargeError      413 INVALID_ARGUMENT
    │   ├── VideoError                  400 INVALID_ARGUMENT
    │   ├── ParameterError              422 INVALID_ARGUMENT
    │   ├── EditError                   422 INVALID_ARGUMENT
    │   ├── LandmarkError               422 INVALID_ARGUMENT
    │   └── ExportError                 422 INVALID_ARGUMENT
    ├── NoFaceError                     422 NOT_FOUND
    ├── FaceModelError                  500 INTERNAL
    ├── MissingDependencyError          500 INTERNAL
    ├── DeadlineError                   504 DEADLINE_EXCEEDED
    └── BackendError                    503 UNAVAILABLE

Every message says what is wrong and what to do about it; none carries pixels of a photo.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import ClassVar


class InverseFaceNetError(Exception):
    """Base of all errors that this package raises on purpose.

    Attributes:
        slug: A stable, machine-readable name (the last part of a problem type).
        http_status: The HTTP status a service answers with.
        grpc_code: The name of the gRPC status code a service answers with.
    """

    slug: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    grpc_code: ClassVar[str] = "INTERNAL"


class InputError(InverseFaceNetError):
    """What the caller sent can't be used."""

    slug = "invalid-input"
    http_status = 400
    grpc_code = "INVALID_ARGUMENT"


class ImageError(InputError):
    """The bytes are no usable picture."""

    slug = "invalid-image"


class EmptyImageError(ImageError):
    """There are no bytes at all."""

    slug = "empty-image"


class UnsupportedImageError(ImageError):
    """The bytes are not an image, or an image of a format that is not read here."""

    slug = "unsupported-image"
    http_status = 415


class TruncatedImageError(ImageError):
    """The image starts well and then ends early or is damaged."""

    slug = "truncated-image"


class ImageTooLargeError(ImageError):
    """The image has more bytes or pixels than the limit."""

    slug = "image-too-large"
    http_status = 413


class VideoError(InputError):
    """A file is no usable video, or one can't be written."""

    slug = "invalid-video"


class ParameterError(InputError):
    """A parameter vector, or a named part of one, has a wrong shape, type or value."""

    slug = "invalid-parameters"
    http_status = 422


class EditError(InputError):
    """An edit of a face is none that there is, or holds a value that can't be used."""

    slug = "invalid-edit"
    http_status = 422


class LandmarkError(InputError):
    """Landmarks have a wrong shape, are not finite, or span no area."""

    slug = "invalid-landmarks"
    http_status = 422


class ExportError(InputError):
    """A mesh can't be written in the requested form."""

    slug = "invalid-export"
    http_status = 422


class NoFaceError(InverseFaceNetError):
    """No face was found in the photo."""

    slug = "no-face"
    http_status = 422
    grpc_code = "NOT_FOUND"


class FaceModelError(InverseFaceNetError):
    """A face-model file is missing, damaged or of another version."""

    slug = "face-model"


class MissingDependencyError(InverseFaceNetError):
    """An optional package is not installed; the message ends in the command that installs it."""

    slug = "missing-dependency"

    def __init__(self, message: str, extra: str | None = None) -> None:
        """Say what is missing.

        Args:
            message: What needs which package.
            extra: The project's extra that brings it.
        """
        super().__init__(message if extra is None else f"{message}: {install_command(extra)}")


def install_command(extra: str) -> str:
    """Return the command that installs one of the project's extras for the Python that runs.

    The project is on no package index: the command names the folder that it is used from, or else says where
    it is to be run.
    """
    folder = Path(__file__).resolve().parents[1]
    if not (folder / "pyproject.toml").is_file():
        return f"pip install '.[{extra}]' in the project's folder"
    python = shlex.quote(sys.executable or "python")
    return f"{python} -m pip install --editable {shlex.quote(f'{folder}[{extra}]')}"


class DeadlineError(InverseFaceNetError):
    """The time that the caller gave has run out; what was left to do was dropped."""

    slug = "deadline-exceeded"
    http_status = 504
    grpc_code = "DEADLINE_EXCEEDED"


class BackendError(InverseFaceNetError):
    """The inference backend can't be loaded or doesn't answer."""

    slug = "backend-unavailable"
    http_status = 503
    grpc_code = "UNAVAILABLE"

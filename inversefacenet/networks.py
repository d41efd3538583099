"""The networks that come with the project, by name.

"fast" is a small network, made for CPUs, that comes with the package: the embedded default. "reference" is
the paper's AlexNet, which taught it: it lies in the model repository that Triton serves.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from inversefacenet.errors import BackendError

MODEL_ENVIRONMENT_VARIABLE: Final = "IFN_MODEL_PATH"
REPOSITORY: Final = Path("model_repository", "inversefacenet")
NETWORK_FILE: Final = "model.onnx"

FAST: Final = "fast"
REFERENCE: Final = "reference"
NETWORKS: Final = (FAST, REFERENCE)

_PACKAGE: Final = Path(__file__).resolve().parent


def network_path(chosen: str | Path | None = None) -> Path:
    """Return a network's file.

    Args:
        chosen: One of `NETWORKS`, or a file; by default what `IFN_MODEL_PATH` says, else "fast".

    Raises:
        BackendError: If "reference" is chosen and there is no model repository here.
    """
    name = str(chosen or os.environ.get(MODEL_ENVIRONMENT_VARIABLE) or FAST)
    if name == FAST:
        return fast_path()
    return reference_path() if name == REFERENCE else Path(name)


def fast_path() -> Path:
    """Return the fast network's file, which comes with the package."""
    return _PACKAGE / "assets" / FAST / NETWORK_FILE


def reference_path() -> Path:
    """Return the reference's file: the newest version in the model repository.

    Raises:
        BackendError: If there is none.
    """
    for root in (_PACKAGE.parent, Path.cwd()):
        if known := versions(root / REPOSITORY):
            return root / REPOSITORY / str(known[-1]) / NETWORK_FILE
    raise BackendError(
        f"No network was found in {REPOSITORY} (VERSION/{NETWORK_FILE}): run from a checkout, or name a file "
        f"in {MODEL_ENVIRONMENT_VARIABLE}."
    )


def version_of(path: Path) -> str:
    """Return what a network's place says of its version: its folder's name, where that tells anything.

    In a model repository the folder is the version; the fast network's is called "fast".
    """
    folder = path.parent.name
    return folder if folder.isdecimal() or path == fast_path() else ""


def versions(folder: Path) -> list[int]:
    """Return the versions of a model that have a network, oldest first.

    Args:
        folder: The model's folder in a repository; its versions are the folders with a number for a name.
    """
    return sorted(
        int(entry.parent.name)
        for entry in folder.glob(f"*/{NETWORK_FILE}")
        if re.fullmatch(r"[1-9]\d*", entry.parent.name)
    )

"""Triton's model repository: a version appears complete or not at all."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from deploy.triton.convert import files
from deploy.triton.convert.errors import ConversionError
from deploy.triton.convert.plans import Shapes

logger = logging.getLogger(__name__)

PLAN_FILE: Final = "model.plan"
RECORD_FILE: Final = "plan.json"
CONFIG_FILE: Final = "config.pbtxt"


def check_config(text: str, shapes: Shapes) -> None:
    """Make sure that Triton's configuration fits the plan.

    Raises:
        ConversionError: If it is for another engine, or allows larger batches than the plan.
    """
    if not re.search(r'^\s*(platform:\s*"tensorrt_plan"|backend:\s*"tensorrt")', text, re.M):
        raise ConversionError(f"{CONFIG_FILE} is not for a TensorRT plan.")
    batch = re.search(r"^\s*max_batch_size:\s*(\d+)", text, re.M)
    if batch is None or not shapes.minimum <= int(batch[1]) <= shapes.maximum:
        raise ConversionError(
            f"{CONFIG_FILE} must have a max_batch_size between the plan's {shapes.minimum} and "
            f"{shapes.maximum}, but has {batch[1] if batch else 'none'}."
        )


def versions(model: Path) -> list[int]:
    """Return the versions of a model that Triton would see, oldest first."""
    if not model.is_dir():
        return []
    return sorted(
        int(entry.name)
        for entry in model.iterdir()
        if entry.is_dir() and re.fullmatch(r"[1-9]\d*", entry.name)
    )


def with_digests(config: str, newest: str, by_version: Mapping[int, str]) -> str:
    """Write into the configuration which ONNX file each version came from: answers carry it.

    Args:
        config: The configuration's text.
        newest: SHA-256 of the newest version's ONNX file.
        by_version: The same of each version that is known, the newest among them.

    Returns:
        The text with the parameters `onnx_sha256` and `onnx_sha256_VERSION`.
    """
    kept = [line for line in config.splitlines() if not re.match(r'\s*parameters .*"onnx_sha256', line)]
    digests = {"onnx_sha256": newest} | {
        f"onnx_sha256_{version}": digest for version, digest in sorted(by_version.items())
    }
    kept += [
        f'parameters {{ key: "{name}" value {{ string_value: "{digest}" }} }}'
        for name, digest in digests.items()
    ]
    return "\n".join(kept) + "\n"


def publish(model: Path, plan: Path, config: str, record: Mapping[str, Any], keep: int = 2) -> int:
    """Add a plan as the newest version of a model, unless the newest one is this very plan.

    A reader sees the old state or the new one at every moment, and so does one after a crash: folders are
    filled under another name in the repository's parent, which lies on the same file system, and renamed.

    Args:
        model: The model's folder in the repository.
        plan: The plan to copy there.
        config: Text of the model's configuration.
        record: Written beside the plan, with its checksum; `network` is the ONNX file's.
        keep: Older versions that stay, to go back to.

    Returns:
        The version's number.
    """
    staging = model.parent.parent
    model.parent.mkdir(parents=True, exist_ok=True)
    files.discard_partials(staging)
    known = versions(model)
    checksum = files.sha256(plan)
    newest = known[-1] if known else 0
    version = newest if newest and _is(model / str(newest), checksum) else newest + 1
    digests = {old: digest for old in known if (digest := _network(model / str(old)))}
    digests[version] = str(record["network"])
    config = with_digests(config, digests[version], digests)
    if not model.is_dir():
        # The first version comes with its configuration: Triton must not guess one.
        partial = staging / f"{files.PARTIAL_PREFIX}{model.name}"
        _fill(partial / str(version), plan, {**record, "sha256": checksum})
        files.write(partial / CONFIG_FILE, config.encode())
        files.place(partial, model)
        return version
    # The configuration names the digest of each version, so it may come before the version.
    if not (model / CONFIG_FILE).is_file() or (model / CONFIG_FILE).read_text() != config:
        files.write(model / CONFIG_FILE, config.encode())
    if version == newest:
        logger.info("version %d is this plan already", version)
        return version
    partial = staging / f"{files.PARTIAL_PREFIX}{model.name}"
    _fill(partial, plan, {**record, "sha256": checksum})
    files.place(partial, model / str(version))
    for old in versions(model)[: -1 - keep]:
        shutil.rmtree(model / str(old))
    return version


def _fill(folder: Path, plan: Path, record: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True)
    files.copy(plan, folder / PLAN_FILE)
    files.write(folder / RECORD_FILE, json.dumps(record, indent=1).encode())


def _is(version: Path, checksum: str) -> bool:
    """Return whether a version holds the plan with this checksum, undamaged."""
    try:
        return files.sha256(version / PLAN_FILE) == checksum
    except OSError:
        return False


def _network(version: Path) -> str | None:
    """Return the digest of the ONNX file that a version came from, if it says."""
    try:
        return str(json.loads((version / RECORD_FILE).read_text())["network"])
    except (OSError, ValueError, KeyError, TypeError):
        return None

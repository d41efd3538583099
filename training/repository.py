"""A model repository as Triton reads it, changed so that a crash leaves the old state or the new one.

Convention:
    `FOLDER/VERSION/` holds `model.onnx`, `model.py` (for Triton's Python backend) and `evaluation.json`;
    `FOLDER/config.pbtxt` and `FOLDER/configs/` say how to serve them. Their parameter `onnx_sha256` is the
    digest of the newest version, `onnx_sha256_VERSION` that of an older one beside it. At every moment each
    version that is there is complete, and the configurations tell its digest. What is being written has a
    name that Triton passes over (`.partial-...`) and is moved into place in one step.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from inversefacenet.errors import InputError
from inversefacenet.networks import NETWORK_FILE, versions

CODE_FILE: Final = "model.py"
EVALUATION_FILE: Final = "evaluation.json"
CONFIG_FILES: Final = ("config.pbtxt", "configs/onnxruntime.pbtxt", "configs/python.pbtxt")

_PARTIAL: Final = ".partial-"
_DIGEST_LINE: Final = re.compile(r'parameters \{ key: "onnx_sha256\w*"')


def add_version(
    folder: Path, network: bytes, evaluation: bytes | None, keep: int, template: Path
) -> tuple[int, list[int]]:
    """Make a network the newest version, unless it is that already, and remove versions that are too old.

    Args:
        folder: The model's folder. Where there is none yet, the template's configuration comes with the
            first version.
        network: Content of the ONNX file.
        evaluation: Content of `evaluation.json`. Without it, a version that is there keeps its own.
        keep: Older versions that stay.
        template: A model folder that has the configurations and `model.py`, for folders that have none.

    Returns:
        The version's number, and the older ones that were kept.

    Raises:
        InputError: If the folder, or the template where it is needed, is no model repository, or if another
            process is changing it.
    """
    with _locked(folder):
        if not (folder / CONFIG_FILES[0]).is_file():
            _begin(folder, network, evaluation, template)
            return 1, []
        return _extend(folder, network, evaluation, keep, template)


def digest(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(path: Path, content: bytes) -> None:
    """Replace a file's content in one step."""
    partial = path.with_name(f"{_PARTIAL}{path.name}")
    _fill(partial, content)
    partial.replace(path)
    _sync(path.parent)


def with_digests(config: str, newest: str, older: Mapping[int, str]) -> str:
    """Return a configuration that tells these digests, in the place where it told others.

    Args:
        config: Text of the configuration.
        newest: Digest of the newest version, told for every version that has none of its own.
        older: Digests of single versions.
    """
    told = {"onnx_sha256": newest} | {f"onnx_sha256_{version}": older[version] for version in sorted(older)}
    lines = [
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' for key, value in told.items()
    ]
    before = config.splitlines()
    places = [index for index, line in enumerate(before) if _DIGEST_LINE.match(line)]
    kept = [line for index, line in enumerate(before) if index not in places]
    place = places[0] if places else len(kept)
    return "\n".join([*kept[:place], *lines, *kept[place:]]) + "\n"


def _begin(folder: Path, network: bytes, evaluation: bytes | None, template: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} holds other things and no {CONFIG_FILES[0]}: name another folder.")
    partial = folder.with_name(f"{_PARTIAL}{folder.name}")
    partial.mkdir()
    told = hashlib.sha256(network).hexdigest()
    for name in CONFIG_FILES:
        (partial / name).parent.mkdir(exist_ok=True)
        _fill(partial / name, with_digests(_read(template / name).decode(), told, {}).encode())
    _fill_version(partial / "1", network, _code(template), evaluation)
    _place(partial, folder)


def _extend(
    folder: Path, network: bytes, evaluation: bytes | None, keep: int, template: Path
) -> tuple[int, list[int]]:
    digests = {version: digest(folder / str(version) / NETWORK_FILE) for version in versions(folder)}
    newest = max(digests, default=0)
    own = hashlib.sha256(network).hexdigest()
    if digests.get(newest) == own:
        version = newest
        if evaluation is not None:
            write(folder / str(version) / EVALUATION_FILE, evaluation)
    else:
        version = newest + 1
        partial = folder / f"{_PARTIAL}{version}"
        code = _code(folder / str(newest)) if newest else _code(template)
        _fill_version(partial, network, code, evaluation)
        # Each version's own digest is told before it appears, so that none is ever told a wrong one.
        _tell(folder, digests.get(newest, own), {**digests, version: own})
        _place(partial, folder / str(version))
    older = [number for number in digests if number != version]
    kept = older[len(older) - keep :] if keep else []
    for number in older:
        if number not in kept:
            gone = folder / f"{_PARTIAL}old-{number}"
            (folder / str(number)).rename(gone)
            shutil.rmtree(gone)
    _tell(folder, own, {number: digests[number] for number in kept})
    return version, kept


def _tell(folder: Path, newest: str, older: Mapping[int, str]) -> None:
    for name in CONFIG_FILES:
        before = _read(folder / name)
        after = with_digests(before.decode(), newest, older).encode()
        if after != before:
            write(folder / name, after)


def _fill_version(folder: Path, network: bytes, code: bytes, evaluation: bytes | None) -> None:
    folder.mkdir()
    _fill(folder / NETWORK_FILE, network)
    _fill(folder / CODE_FILE, code)
    if evaluation is not None:
        _fill(folder / EVALUATION_FILE, evaluation)


def _code(folder: Path) -> bytes:
    """Return `model.py` of a version, or of a model's newest version."""
    if not (folder / CODE_FILE).is_file() and (known := versions(folder)):
        folder = folder / str(known[-1])
    return _read(folder / CODE_FILE)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.parent} is no model repository: {path.name} can't be read.") from error


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _sync(path)


def _place(partial: Path, target: Path) -> None:
    _sync(partial)
    partial.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep others out, and remove what a process that was killed left behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{folder} is being changed by another process: wait for it.") from error
        leftovers = [folder.with_name(f"{_PARTIAL}{folder.name}")]
        leftovers += [*folder.glob(f"{_PARTIAL}*"), *folder.glob(f"*/{_PARTIAL}*")]
        for leftover in leftovers:
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)

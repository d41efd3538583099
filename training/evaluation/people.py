"""Which faces may show the same person, told from folders and file names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final, Literal

Rule = Literal["auto", "folder", "name", "photo"]
RULES: Final[tuple[Rule, ...]] = ("auto", "folder", "name", "photo")

_NUMBERED: Final = re.compile(r"(.+)_\d{4}")
_FOLDERS: Final = 10


def clusters(names: Sequence[str], rule: Rule = "auto") -> tuple[list[str], str]:
    """Tell persons apart.

    Args:
        names: Each face's photograph, relative to the evaluated folder.
        rule: "folder" if each person has a folder, "name" if files are called ``Some_Person_0001.jpg``,
            "photo" if nothing is known: only faces of one photo belong together. "auto" takes "name" where
            all files are called so, else "folder" where there are at least ten folders and no photo lies
            outside of them, else "photo".

    Returns:
        Each face's person (or photograph), and the rule that was used.
    """
    paths = [PurePosixPath(name) for name in names]
    used = _choose(paths) if rule == "auto" else rule
    if used == "folder":
        return [path.parent.as_posix() for path in paths], used
    if used == "name":
        return [_person(path) for path in paths], used
    return list(names), used


def _choose(paths: Sequence[PurePosixPath]) -> Rule:
    if all(_NUMBERED.fullmatch(path.stem) for path in paths):
        return "name"
    folders = {path.parent for path in paths}
    if len(folders) >= _FOLDERS and PurePosixPath(".") not in folders:
        return "folder"
    return "photo"


def _person(path: PurePosixPath) -> str:
    found = _NUMBERED.fullmatch(path.stem)
    return found.group(1) if found else path.as_posix()

"""Plans that were built before, each with the key that it is valid for and its checksum."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any, Final

from deploy.triton.convert import files
from deploy.triton.convert.plans import Machine, Precision, Shapes

logger = logging.getLogger(__name__)

PLAN_FILE: Final = "model.plan"
ENTRY_FILE: Final = "entry.json"


@dataclass(frozen=True)
class Key:
    """All that a plan depends on: if any of it changes, another plan is built.

    Attributes:
        machine: GPU and TensorRT.
        network: SHA-256 of the ONNX file that ships.
        graph: SHA-256 of the ONNX file that TensorRT got, so that a change of the rewriting counts too.
        precision: Precision of the plan.
        shapes: Its batch sizes.
    """

    machine: Machine
    network: str
    graph: str
    precision: Precision
    shapes: Shapes

    def fields(self) -> dict[str, Any]:
        """Return the key as JSON can hold it."""
        return asdict(self)

    @property
    def name(self) -> str:
        """Return the name of the entry: the precision, to be read, and a digest of the whole key."""
        text = json.dumps(self.fields(), sort_keys=True)
        return f"{self.precision}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


class Cache:
    """A folder of plans; it may be shared by several jobs, which take turns."""

    def __init__(self, root: Path) -> None:
        """Use a folder, which is made when it is first needed."""
        self._root = root

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other jobs out, and clear away what a killed one has left."""
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / ".lock").open("w") as lock:
            flock(lock, LOCK_EX)
            files.discard_partials(self._root)
            yield

    def find(self, key: Key) -> Path | None:
        """Return the plan of a key if it is here and whole; a damaged one is thrown away."""
        entry = self._root / key.name
        if not entry.is_dir():
            return None
        try:
            record = json.loads((entry / ENTRY_FILE).read_text())
            if record["key"] != key.fields():
                raise ValueError("its key is another one")
            if record["sha256"] != files.sha256(entry / PLAN_FILE):
                raise ValueError("its checksum is wrong")
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("the cached plan %s is damaged and is built again: %s", key.name, error)
            self.drop(key)
            return None
        return entry / PLAN_FILE

    def add(self, key: Key, plan: Path) -> Path:
        """Take a plan in; returns where it lies now."""
        self.drop(key)
        partial = self._root / f"{files.PARTIAL_PREFIX}{key.name}"
        partial.mkdir()
        files.copy(plan, partial / PLAN_FILE)
        record = {"key": key.fields(), "sha256": files.sha256(plan), "bytes": plan.stat().st_size}
        files.write(partial / ENTRY_FILE, json.dumps(record, indent=1).encode())
        files.place(partial, self._root / key.name)
        return self._root / key.name / PLAN_FILE

    def drop(self, key: Key) -> None:
        """Forget a plan."""
        if (self._root / key.name).exists():
            shutil.rmtree(self._root / key.name)

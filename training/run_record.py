"""What it takes to repeat a run: `run.json` in its folder, and the time that is left of it.

The record holds the command, every option, the seed, the versions of all packages, the commit (and a patch of
what was not committed), the face model's digest and the machine. Each start of the run adds its own entry, so
that a run which was resumed by other code, or on another machine, says so.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from inversefacenet.errors import InputError, MissingDependencyError

RECORD_FILE: Final = "run.json"
PATCH_FILE: Final = "uncommitted.patch"
COMMIT_FILE: Final = "COMMIT"
"""Names the commit where the code was carried without its history (`training/gpu.md`)."""

_ROOT: Final = Path(__file__).resolve().parents[1]


def write(
    folder: Path, config: Mapping[str, Any], command: Sequence[str], face_model: str = "", seed: int = 0
) -> Path:
    """Write down how to repeat a run; a run that is resumed gets another entry.

    Args:
        folder: The run's folder.
        config: Everything that the run was told, ready for JSON.
        command: The program's arguments as they were given, such as `sys.argv`.
        face_model: Digest of the face model.
        seed: Seed of all randomness; taken from `config` if that has one.

    Returns:
        The record's path.

    Raises:
        InputError: If the folder holds a record that can't be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECORD_FILE
    starts: list[dict[str, Any]] = []
    if path.is_file():
        try:
            starts = json.loads(path.read_text())["starts"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no record of a run: move it away.") from error
    commit = commit_of(_ROOT)
    if commit["dirty"] and (patch := _git(_ROOT, "diff", "--binary", "HEAD")):
        commit["patch"] = f"{len(starts)}-{PATCH_FILE}"
        (folder / commit["patch"]).write_text(patch + "\n")
    starts.append(
        {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "command": shlex.join(command),
            "seed": config.get("seed", seed),
            "config": dict(config),
            "face_model": face_model,
            "commit": commit,
            "python": platform.python_version(),
            "packages": packages(),
            "machine": machine(),
        }
    )
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"starts": starts}, indent=1, default=str) + "\n")
    partial.replace(path)
    return path


def commit_of(root: Path) -> dict[str, Any]:
    """Return the commit that the code is of, whether files were changed since, and files it doesn't know.

    Without a history it is what the file `COMMIT` says (`git describe --always --dirty --abbrev=40`); without
    that, it is not known.
    """
    commit = _git(root, "rev-parse", "HEAD")
    if commit:
        untracked = _git(root, "ls-files", "--others", "--exclude-standard").splitlines()
        dirty = bool(_git(root, "status", "--porcelain"))
        return {"id": commit, "dirty": dirty} | ({"untracked": untracked} if untracked else {})
    path = root / COMMIT_FILE
    told = path.read_text().strip() if path.is_file() else ""
    return {"id": told.removesuffix("-dirty") or "unknown", "dirty": told.endswith("-dirty")}


def packages() -> dict[str, str]:
    """Return the versions of all installed packages by name."""
    found = {one.metadata["Name"]: one.version for one in metadata.distributions() if one.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def machine() -> dict[str, Any]:
    """Return what a run's speed and rounding depend on: processor, cores, memory, GPUs, threads."""
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
    }
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        found["cuda"] = torch.version.cuda
        found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found


@dataclass(frozen=True)
class Stage:
    """A part of a schedule.

    Attributes:
        name: What it is called.
        kind: What is done; stages of one kind go at one pace.
        amount: How much of it: iterations, photographs.
        seconds: What one of these is thought to take, until one has been timed.
    """

    name: str
    kind: str
    amount: float
    seconds: float = 1.0


class Progress:
    """How far a schedule is, and how long the rest will take.

    The pace of each kind of stage is measured where it has run; where it has not, its guess is corrected by
    how wrong the other kinds' guesses were.
    """

    def __init__(self, stages: Sequence[Stage], clock: Callable[[], float] = time.monotonic) -> None:
        """Begin before the first stage.

        Args:
            stages: The schedule in order; names must differ.
            clock: Seconds that pass.
        """
        self._stages = {stage.name: stage for stage in stages}
        self._done = dict.fromkeys(self._stages, 0.0)
        self._clock = clock
        self._timed: dict[str, tuple[float, float]] = {}
        self._current, self._since, self._from = "", clock(), 0.0

    def start(self, name: str, done: float = 0.0) -> None:
        """Begin a stage; what comes before it counts as finished.

        Args:
            name: The stage's name.
            done: How much of it was done before this process.
        """
        self.finish()
        for earlier, stage in self._stages.items():
            if earlier == name:
                break
            self._done[earlier] = stage.amount
        self._done[name] = done
        self._current, self._since, self._from = name, self._clock(), done

    def update(self, done: float) -> None:
        """Say how much of the current stage is done."""
        self._done[self._current] = done

    def finish(self) -> None:
        """Say that the current stage is done, if there is one, before another starts."""
        if self._current:
            self._done[self._current] = self._stages[self._current].amount
            self._time_current()
        self._current = ""

    def left(self) -> float:
        """Return the seconds that the rest of the schedule will take."""
        timed = self._all_timed()
        guessed = sum(self._seconds_of(kind) * amount for kind, (_, amount) in timed.items())
        measured = sum(seconds for seconds, _ in timed.values())
        correction = measured / guessed if guessed else 1.0
        total = 0.0
        for name, stage in self._stages.items():
            seconds, amount = timed.get(stage.kind, (0.0, 0.0))
            pace = seconds / amount if amount else stage.seconds * correction
            total += max(stage.amount - self._done[name], 0.0) * pace
        return total

    def line(self) -> str:
        """Return where the schedule is, in a few words for the terminal."""
        names = list(self._stages)
        if self._current not in self._stages:
            return f"{duration(self.left())} left"
        stage = self._stages[self._current]
        share = self._done[self._current] / stage.amount if stage.amount else 1.0
        return (
            f"{self._current} ({names.index(self._current) + 1} of {len(names)}) {share:.0%}, "
            f"{duration(self.left())} left"
        )

    def _time_current(self) -> None:
        self._timed = self._all_timed()
        self._from = self._done.get(self._current, 0.0)
        self._since = self._clock()

    def _all_timed(self) -> dict[str, tuple[float, float]]:
        """Return seconds and amount of each kind that has run here, the current stage's among them."""
        timed = dict(self._timed)
        amount = self._done.get(self._current, 0.0) - self._from
        if amount > 0:
            kind = self._stages[self._current].kind
            seconds, before = timed.get(kind, (0.0, 0.0))
            timed[kind] = (seconds + self._clock() - self._since, before + amount)
        return timed

    def _seconds_of(self, kind: str) -> float:
        return next(stage.seconds for stage in self._stages.values() if stage.kind == kind)


class Board:
    """TensorBoard logs, or nothing where none are wanted."""

    def __init__(self, folder: Path | None) -> None:
        """Open the logs.

        Args:
            folder: Where they go; None for no logs.

        Raises:
            MissingDependencyError: If TensorBoard isn't installed.
        """
        self._writer: Any = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError(
                "--tensorboard needs TensorBoard: pip install tensorboard."
            ) from error
        self._writer = SummaryWriter(str(folder))

    def scalars(self, prefix: str, iteration: int, values: Mapping[str, float]) -> None:
        """Add a point to each value's curve."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{prefix}/{name}", value, iteration)

    def close(self) -> None:
        """Write everything out."""
        if self._writer is not None:
            self._writer.close()


def duration(seconds: float) -> str:
    """Return a duration as people say it: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _git(root: Path, *arguments: str) -> str:
    """Return git's answer, or "" where there is no git or no history of this very folder."""
    if not (root / ".git").exists():
        return ""
    try:
        asked = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError:
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())

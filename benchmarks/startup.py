"""How long things take to start: the command line on one photo, the import, each in a new process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inversefacenet.errors import InputError

_IMPORT: Final = (
    "import time; start = time.perf_counter(); import inversefacenet; "
    "from inversefacenet import Reconstructor, load_photo; print(time.perf_counter() - start)"
)


_LIBRARIES: Final = "import numpy, numba, PIL.Image, onnxruntime, dlib"
"""What the command can't do without, imported by a process that does nothing else: its floor."""


@dataclass(frozen=True)
class StartUp:
    """Seconds, one value a process.

    Attributes:
        cold: `inversefacenet reconstruct PHOTO` from the start of the process to its end.
        imports: The package and what a program touches first, `Reconstructor` and `load_photo`.
        libraries: A process that imports the libraries and ends.
    """

    cold: tuple[float, ...]
    imports: tuple[float, ...]
    libraries: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The command's time over that of importing the libraries."""
        return statistics.median(self.cold) / statistics.median(self.libraries)

    def figures(self) -> dict[str, float]:
        """Return medians and the fastest, by name."""
        return {
            "cold_s": statistics.median(self.cold),
            "cold_fastest_s": min(self.cold),
            "import_s": statistics.median(self.imports),
            "import_fastest_s": min(self.imports),
            "libraries_s": statistics.median(self.libraries),
        }


def measure_startup(photo: Path, processes: int) -> StartUp:
    """Start so many processes of each kind, in turn.

    What was compiled is kept from the first, which isn't counted; the files are in the system's memory.

    Raises:
        InputError: If the command fails, as on a photo without a face.
    """
    cold: list[float] = []
    imports: list[float] = []
    libraries: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "inversefacenet", "reconstruct", str(photo), "--output-dir", folder]
        for number in range(processes + 1):
            whole, _ = _run(*command)
            _, answer = _run("-c", _IMPORT)
            least, _ = _run("-c", _LIBRARIES)
            if number:
                cold.append(whole)
                imports.append(float(answer))
                libraries.append(least)
    return StartUp(tuple(cold), tuple(imports), tuple(libraries))


def _run(*arguments: str) -> tuple[float, str]:
    """Return how long a Python process took, and what it printed."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - start
    if done.returncode:
        raise InputError(f"`python {' '.join(arguments)}` failed: {done.stderr.strip()[-500:]}")
    return elapsed, done.stdout

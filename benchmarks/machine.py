"""What the figures were measured on; nothing that names the host or its folders."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any, Final

from PIL import features

_PACKAGES: Final = ("numpy", "numba", "pillow", "onnxruntime", "dlib-bin")
_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def describe(threads: int) -> dict[str, Any]:
    """Return processor, cores, memory, versions, and what else keeps the machine busy.

    Args:
        threads: Threads that were asked for; 0 for each library's default.
    """
    return {
        "cpu": cpu_name(),
        "cores": available_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads or "all",
        "thread_variables": {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": versions(),
    }


def set_threads(threads: int) -> None:
    """Limit numpy's, numba's and OpenMP's threads; it must come before their import."""
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(threads)


def cpu_name() -> str:
    """Return the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def available_cores() -> int:
    """Return the cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Return versions of the libraries that do the work."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["libjpeg-turbo"] = features.version("libjpeg_turbo") or "none"
    return found


def peak_memory_mb(pid: int | None = None) -> float:
    """Return the most memory that a process has held (resident set), in megabytes.

    Args:
        pid: The process, where there is /proc; by default this one.
    """
    try:
        # getrusage would count what the parent held when it started this process.
        for line in Path("/proc", str(pid or "self"), "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6

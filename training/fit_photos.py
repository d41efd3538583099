"""Fit many photographs: ``python -m training.fit_photos --store STORE --output FITS.npz``.

Each face starts at the network's answer and is refined by `inversefacenet.fitting`. The fits are the
reference of the evaluation (Kim et al. 2018, Section 8.1) and the teacher of MonoFit. Faces are taken in a
random order that is always the same, so that a larger ``--limit`` goes on where a smaller one ended; what is
done is kept in parts beside the output, so that a run that was killed goes on too. The output holds, by
face, ``theta``, ``start``, ``index`` (into the store, or the photos), ``face``, ``name``, ``iterations`` and
the measures before and after.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Int64

from inversefacenet.batch.files import (
    alone_in,
    check_settings,
    json_bytes,
    remove_unfinished,
    write_atomically,
)
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.fitting import FitOptions
from inversefacenet.networks import network_path
from training.fit_work import Worker, read_columns
from training.photo_store import PhotoStore

PART: Final = 16
"""Items of a part: so many are lost at most with a worker."""

SUFFIXES: Final = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"))
_ORDER_SEED: Final = 20180618
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_worker: list[Worker] = []


@dataclass(frozen=True)
class Job:
    """What is to be fitted, and how.

    Attributes:
        store: A photo store, or None.
        photos: A folder of photographs, or None.
        names: Names of the store's faces or the folder's photos, in order.
        network: An ONNX file.
        options: Of the fits.
        order: The items to fit, in the order of parts.
    """

    store: Path | None
    photos: Path | None
    names: Sequence[str]
    network: Path
    options: FitOptions
    order: Int64[np.ndarray, "items"]

    def settings(self) -> dict[str, Any]:
        """Return what must not change while a run goes on."""
        return {
            "names": hashlib.sha256("\n".join(self.names).encode()).hexdigest(),
            "network": hashlib.sha256(self.network.read_bytes()).hexdigest(),
            "options": json.dumps(asdict(self.options)),
            "part": PART,
        }

    def parts(self) -> list[list[int]]:
        """Return the items of each part."""
        return [self.order[first : first + PART].tolist() for first in range(0, len(self.order), PART)]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.fit_photos", description="Fit the face model to photographs."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--store", type=Path, default=None, help="that training.prepare wrote")
    source.add_argument("--photos", type=Path, default=None, help="a folder of photographs, of any depth")
    parser.add_argument(
        "--network", type=Path, default=Path("reference"), help="ONNX file (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, required=True, help="NPZ file")
    parser.add_argument(
        "--limit", type=int, default=None, help="fit so many faces or photos, chosen at random"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--iterations", type=int, default=None)
    parser.add_argument("--robust", type=float, default=None, help="scale in levels; for occluded faces")
    values = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        job = plan(values)
        parts = run(job, values.output, values.workers)
        summary = merge(job, parts, values.output)
    except InverseFaceNetError as error:
        print(f"fit_photos: {error}", file=sys.stderr)
        return 1
    print(f"{summary} seconds={time.monotonic() - started:.1f} file={values.output}")
    return 0


def plan(values: argparse.Namespace) -> Job:
    """Read what is to be done from the command's arguments."""
    if (values.limit is not None and values.limit < 1) or values.workers < 1:
        raise InputError("--limit and --workers must be at least 1.")
    if values.store is not None:
        names = PhotoStore.open(values.store).names
    else:
        folder: Path = values.photos
        names = [
            path.relative_to(folder).as_posix()
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in SUFFIXES and path.is_file()
        ]
    if not names:
        raise InputError(f"There are no faces in {values.store or values.photos}.")
    options = FitOptions(robust=values.robust)
    if values.iterations is not None:
        options = replace(options, iterations=values.iterations)
    order = np.random.default_rng(_ORDER_SEED).permutation(len(names))[: values.limit]
    network = network_path(values.network)
    if not network.is_file():
        raise InputError(f"There is no network {network}.")
    return Job(values.store, values.photos, names, network, options, order)


def run(job: Job, output: Path, workers: int) -> list[Path]:
    """Fit what isn't fitted yet, and return the files of all parts."""
    folder = output.with_name(output.name + ".parts")
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        remove_unfinished(folder)
        settings, kept = job.settings(), folder / "plan.json"
        if kept.is_file():
            check_settings(folder, json.loads(kept.read_bytes()), settings)
        else:
            write_atomically(kept, json_bytes(settings))
        # The last part of a smaller limit is shorter: its name says how many items it has.
        parts = [
            (folder / f"part-{number:05d}-{len(items)}.npz", items)
            for number, items in enumerate(job.parts())
        ]
        missing = [(path, items) for path, items in parts if not path.is_file()]
        done = len(parts) - len(missing)
        for _ in work(job, missing, min(workers, len(missing))):
            done += 1
            print(f"parts={done}/{len(parts)}", file=sys.stderr, flush=True)
    return [path for path, _ in parts]


def work(job: Job, parts: Sequence[tuple[Path, list[int]]], workers: int) -> Iterator[Path]:
    """Yield parts as they are finished."""
    settings = (job.store, job.photos, job.names, job.network, job.options)
    if workers <= 1:
        worker = Worker.make(*settings) if parts else None
        for path, items in parts:
            if worker is not None:
                save(path, worker.table(items))
                yield path
        return
    for name in _THREADS:  # inherited by the workers: processes share the cores, not threads
        os.environ[name] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, settings) as pool:
        pending = [pool.submit(_fit_part, path, items) for path, items in parts]
        try:
            for finished in as_completed(pending):
                yield finished.result()
        except BrokenProcessPool as error:
            raise InputError("A worker died, perhaps for want of memory: run again to go on.") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start(*settings: Any) -> None:
    _worker[:] = [Worker.make(*settings)]


def _fit_part(path: Path, items: list[int]) -> Path:
    save(path, _worker[0].table(items))
    return path


def save(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Write arrays, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **columns)  # type: ignore[arg-type]  # numpy's stub takes the last keyword for a flag
    write_atomically(path, buffer.getvalue())


def merge(job: Job, parts: Sequence[Path], output: Path) -> str:
    """Write the output from its parts, in order of the items, and return its summary."""
    tables = [read_columns(path) for path in parts]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    count = len(columns["index"])
    for item, reason in zip(columns["failed"], columns["reason"], strict=True):
        print(f"failed: {job.names[item]} ({reason})")
    if not count:
        raise InputError("No face was found in any of these photos.")
    order = np.lexsort((columns["face"], columns["index"]))
    by_face = {name: values[order] for name, values in columns.items() if name not in ("failed", "reason")}
    by_face["name"] = np.array([job.names[item] for item in by_face["index"]])
    save(output, by_face)
    means = " ".join(
        f"{name}={columns[name].mean():.4f}"
        for name in ("start_photometric", "photometric", "iou", "landmark", "iterations")
    )
    return f"n={count} failed={len(columns['failed'])} {means}"


if __name__ == "__main__":
    raise SystemExit(main())

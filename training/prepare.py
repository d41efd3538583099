"""Prepare photographs for training, once: ``python -m training.prepare --photos FOLDER --store FOLDER``.

Faces are found and cut out by the code that serves (`inversefacenet.landmarks`, `inversefacenet.crop`), good
ones are kept (`training.photo_filter`), and all goes into a store (`training.photo_store`), shard by shard of
the sorted photos, in parallel. A run that was killed at any moment goes on with the same command and ends in
the same bits as an unbroken one. Photos that are left out stand in ``skipped.jsonl`` with the reason.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from inversefacenet.batch.engines import CRASHED, ENGINES, Engine, complete, make_engine
from inversefacenet.batch.files import (
    alone_in,
    check_settings,
    json_bytes,
    remove_unfinished,
    write_atomically,
)
from inversefacenet.batch.installation import detector_settings, predictor_anywhere
from inversefacenet.batch.photos import photos_in, spread
from inversefacenet.errors import InputError, InverseFaceNetError
from training import photo_store
from training.photo_filter import PhotoFilter
from training.photo_shard import Faces, PreparedPhoto, ShardJob, prepare_shard, write_shard

SHARD: Final = 256
"""Photos of a shard."""


def prepare(
    photos: Path,
    store: Path,
    chosen: PhotoFilter,
    engine: Engine,
    *,
    faces: Faces = "largest",
    limit: int | None = None,
    predictor: Path | None = None,
    shard: int = SHARD,
) -> dict[str, Any]:
    """Prepare a folder's photos, or go on with it.

    Args:
        photos: The folder.
        store: Where the store goes.
        chosen: What is kept.
        engine: Who works.
        faces: The largest face of each photo, or all.
        limit: Photos to use, spread over the folder.
        predictor: The landmark predictor, a file or `dlib_models.OPEN`; by default the usual one.
        shard: Photos of a shard.

    Returns:
        The manifest.

    Raises:
        InputError: There are no photos, none has a good face, or the store's folder has a store of other
            settings or photos.
    """
    names = spread(photos_in(photos), limit)
    listing = "".join(json.dumps(name) + "\n" for name in names).encode()
    settings = {
        "version": photo_store.VERSION,
        "faces": faces,
        "shard": shard,
        "photos": hashlib.sha256(listing).hexdigest(),
        **asdict(chosen),
        **detector_settings(predictor),
    }
    store.mkdir(parents=True, exist_ok=True)
    with alone_in(store):
        _start(store, settings, listing)
        parts = [tuple(names[i : i + shard]) for i in range(0, len(names), shard)]
        jobs = [
            ShardJob(photos.absolute(), number, part, faces, chosen, predictor_anywhere(predictor))
            for number, part in enumerate(parts)
            if not photo_store.shard_is_whole(store, number)
        ]
        _work(engine, store, jobs, len(names))
        return _finish(store, settings, len(parts), len(names))


def _work(engine: Engine, store: Path, jobs: Sequence[ShardJob], total: int) -> None:
    """Do the shards that are missing, and say how it goes."""
    left = sum(len(job.names) for job in jobs)
    started, begun = time.perf_counter(), left
    prepared = complete(
        engine,
        prepare_shard,
        jobs,
        split=lambda job: [replace(job, names=(name,)) for name in job.names],
        crashed=lambda job: [
            PreparedPhoto(name, reason=CRASHED, message="Each process that read this photo died of it.")
            for name in job.names
        ],
    )
    for job, photos in prepared:
        write_shard(store, job.number, photos)
        for photo in photos:
            if photo.reason and photo.reason not in _NO_FAULT:
                print(f"skipped: {photo.name}: {photo.reason}: {photo.message}", flush=True)
        left -= len(job.names)
        rate = (begun - left) / (time.perf_counter() - started)
        print(
            f"photos {total - left} of {total}, {rate:.1f} a second, {left / rate:.0f} s left",
            file=sys.stderr,
            flush=True,
        )


_NO_FAULT: Final = frozenset(
    ("no-face", "small-face", "low-score", "cut-off", "implausible-landmarks", "invalid-landmarks")
)
"""Reasons that are no fault of the file: counted, and named in skipped.jsonl alone."""


def _start(store: Path, settings: dict[str, Any], listing: bytes) -> None:
    """Write down what is to be done, or check that it is what was begun."""
    store.mkdir(parents=True, exist_ok=True)
    plan = store / photo_store.PLAN
    if plan.is_file():
        check_settings(store, json.loads(plan.read_bytes()), settings)
        remove_unfinished(store)
        return
    if any(store.iterdir()):
        raise InputError(f"{store} isn't empty and no store of photos: name another folder.")
    write_atomically(store / photo_store.PHOTOS, listing)
    write_atomically(plan, json_bytes(settings))


def _finish(store: Path, settings: dict[str, Any], shards: int, photos: int) -> dict[str, Any]:
    """Write the list of photos left out, then the manifest."""
    faces, reasons, lines = 0, Counter[str](), []
    for number in range(shards):
        table = photo_store.read_table(photo_store.shard_paths(store, number)[1])
        faces += len(table["offsets"]) - 1
        for name, reason, message in table["skipped"].tolist():
            reasons[reason] += 1
            lines.append(json.dumps({"photo": name, "reason": reason, "message": message}) + "\n")
    write_atomically(store / photo_store.SKIPPED, "".join(lines).encode())
    if not faces:
        raise InputError(
            f"No photo shows a face that passes the filter; {store / photo_store.SKIPPED} says why."
        )
    manifest = {
        "version": photo_store.VERSION,
        "settings": settings,
        "photos": photos,
        "faces": faces,
        "shards": shards,
        "skipped": dict(sorted(reasons.items())),
        "digest": photo_store.content_digest(store, shards),
    }
    write_atomically(store / photo_store.MANIFEST, json_bytes(manifest))
    return manifest


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m training.prepare", description="Cut the faces of a folder's photos into a store."
    )
    defaults = PhotoFilter()
    parser.add_argument(
        "--photos", type=Path, required=True, help="a folder of photos, of any depth and size"
    )
    parser.add_argument("--store", type=Path, required=True, help="where the store goes, or goes on")
    parser.add_argument("--workers", type=int, default=0, help="photos at once; by default one per processor")
    parser.add_argument("--engine", choices=ENGINES, default="local", help="processes here, or a Ray cluster")
    parser.add_argument("--address", default=None, help="of the Ray cluster")
    parser.add_argument("--limit", type=int, default=None, help="photos to use, spread over the folder")
    parser.add_argument("--faces", choices=("largest", "all"), default="largest", help="of each photo")
    parser.add_argument(
        "--minimum-size", type=float, default=defaults.minimum_size, metavar="PX", help="least face width"
    )
    parser.add_argument(
        "--minimum-score",
        type=float,
        default=defaults.minimum_score,
        metavar="S",
        help="least detector score",
    )
    parser.add_argument(
        "--minimum-inside",
        type=float,
        default=defaults.minimum_inside,
        metavar="SHARE",
        help="least share of the crop inside the photo",
    )
    parser.add_argument(
        "--landmarks",
        "--landmark-predictor",
        type=Path,
        metavar="FILE",
        help="landmark predictor: a file, or 'open' for the project's own; default: the usual one",
    )
    parser.add_argument("--any-landmarks", action="store_true", help="keep implausible landmarks too")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    values = build_parser().parse_args(arguments)
    chosen = PhotoFilter(
        values.minimum_size, values.minimum_score, values.minimum_inside, not values.any_landmarks
    )
    started = time.perf_counter()
    try:
        engine = make_engine(values.engine, values.workers, values.address)
        manifest = prepare(
            values.photos,
            values.store,
            chosen,
            engine,
            faces=values.faces,
            limit=values.limit,
            predictor=values.landmarks,
        )
    except (InverseFaceNetError, OSError) as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    skipped = "".join(f"{reason}={count} " for reason, count in manifest["skipped"].items())
    print(
        f"photos={manifest['photos']} faces={manifest['faces']} skipped={sum(manifest['skipped'].values())} "
        f"{skipped}seconds={time.perf_counter() - started:.1f} store={values.store}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

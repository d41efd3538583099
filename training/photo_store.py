"""A store of prepared photographs: masked crops with landmarks, read at random and fast.

A store is a folder that `training.prepare` writes::

    plan.json            the settings, written first
    photos.txt           the photos' names, JSON strings, one a line, in order
    shard-00000.crops    the crops of the first photos, lossless WebP, one behind the other
    shard-00000.npz      what is known of them: offsets, landmarks, placements, scores, names; photos left out
    ...
    skipped.jsonl        the photos that were left out, each with its reason
    store.json           written last: version, settings, counts, digest

A crop takes some 25 kB and 0.8 ms to read. Reading needs numpy and Pillow alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, Integer, UInt8
from PIL import Image

from inversefacenet.batch.files import check_settings, write_atomically
from inversefacenet.camera import CROP_SIZE
from inversefacenet.crop import face_mask
from inversefacenet.errors import InputError

__all__ = ["PhotoStore", "write_atomically"]

VERSION: Final = 1
"""Of the format and of the code that cuts the crops: another one is another store."""

MANIFEST: Final = "store.json"
PLAN: Final = "plan.json"
PHOTOS: Final = "photos.txt"
SKIPPED: Final = "skipped.jsonl"

_ARRAYS: Final = ("landmarks", "placements", "scores", "boxes", "photo_sizes", "face_index")


def encode_crop(crop: UInt8[np.ndarray, "240 240 3"]) -> bytes:
    """Compress a crop without loss: half of PNG's bytes, and read in less time."""
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "WEBP", lossless=True, quality=0, method=1)
    return buffer.getvalue()


def decode_crop(data: bytes | memoryview) -> UInt8[np.ndarray, "240 240 3"]:
    """Undo `encode_crop`, bit by bit."""
    with Image.open(io.BytesIO(data), formats=("WEBP",)) as image:
        return np.asarray(image.convert("RGB"))


def shard_paths(folder: Path, number: int) -> tuple[Path, Path]:
    """Return where a shard's crops and its table lie."""
    return folder / f"shard-{number:05d}.crops", folder / f"shard-{number:05d}.npz"


def shard_is_whole(folder: Path, number: int) -> bool:
    """Return whether a shard was written to its end, and nothing was cut off it since."""
    crops, table = shard_paths(folder, number)
    try:
        return crops.stat().st_size == int(read_table(table)["offsets"][-1])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return False


@dataclass(frozen=True)
class PhotoStore:
    """Prepared photographs, one entry per face; make it by `PhotoStore.open`.

    Attributes:
        path: The store's folder.
        manifest: What `store.json` says.
        landmarks: The 68 points of each face in crop pixels.
        placements: Scale and offset (x, y) of photo pixels to crop pixels.
        scores: The detector's score.
        boxes: The detector's box in photo pixels: left, top, right, bottom.
        photo_sizes: Height and width of each photo in pixels.
        face_index: Which face of its photo it is, 0 being the largest.
        names: The photo's path, relative to the folder that was prepared, with slashes.
    """

    path: Path
    manifest: Mapping[str, Any]
    landmarks: Float32[np.ndarray, "faces 68 2"]
    placements: Float64[np.ndarray, "faces 3"]
    scores: Float32[np.ndarray, "faces"]
    boxes: Float32[np.ndarray, "faces 4"]
    photo_sizes: Int32[np.ndarray, "faces 2"]
    face_index: Int32[np.ndarray, "faces"]
    names: list[str]
    _shards: list[UInt8[np.ndarray, "_bytes"]]
    _shard: Int64[np.ndarray, "faces"]
    _begins: Int64[np.ndarray, "faces"]
    _ends: Int64[np.ndarray, "faces"]

    @classmethod
    def open(cls, path: Path, settings: Mapping[str, Any] | None = None) -> PhotoStore:
        """Open a store; its crops are mapped into memory, not read.

        Args:
            path: The folder that `python -m training.prepare --store` wrote.
            settings: Refuse the store unless it was prepared with these, as far as they are named.

        Raises:
            InputError: It is no store, is unfinished, damaged, of another version or of other settings.
        """
        manifest = _read_manifest(path)
        check_settings(path, manifest["settings"], settings or {}, "prepare it anew")
        tables: dict[str, list[np.ndarray]] = {name: [] for name in _ARRAYS}
        shards: list[np.ndarray] = []
        names: list[str] = []
        owner: list[np.ndarray] = []
        begins: list[np.ndarray] = []
        ends: list[np.ndarray] = []
        for number in range(manifest["shards"]):
            crops, table_path = shard_paths(path, number)
            try:
                table = read_table(table_path)
                offsets = table["offsets"]
                if crops.stat().st_size != offsets[-1]:
                    raise ValueError(f"it has {crops.stat().st_size} bytes instead of {offsets[-1]}")
                data = np.memmap(crops, np.uint8, "r") if offsets[-1] else np.zeros(0, np.uint8)
            except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
                raise InputError(
                    f"{crops}: this shard is damaged ({error}); prepare the store anew."
                ) from error
            shards.append(np.asarray(data))
            for name in _ARRAYS:
                tables[name].append(table[name])
            names += table["names"].tolist()
            owner.append(np.full(len(offsets) - 1, number, np.int64))
            begins.append(offsets[:-1])
            ends.append(offsets[1:])
        if len(names) != manifest["faces"]:
            raise InputError(
                f"{path} holds {len(names)} faces instead of {manifest['faces']}; prepare it anew."
            )
        arrays = {name: np.concatenate(parts) for name, parts in tables.items()}
        return cls(
            path=path,
            manifest=manifest,
            **arrays,
            names=names,
            _shards=shards,
            _shard=np.concatenate(owner),
            _begins=np.concatenate(begins),
            _ends=np.concatenate(ends),
        )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def digest(self) -> str:
        """SHA-256 of all that the store holds, to name it in the record of a run."""
        return str(self.manifest["digest"])

    def crops(
        self, index: Integer[np.ndarray, "photos"] | Sequence[int]
    ) -> UInt8[np.ndarray, "photos 240 240 3"]:
        """Return masked crops, bit by bit as `crop_face` cut them (Section 6.1).

        Args:
            index: Which faces, in any order; may repeat.
        """
        chosen = np.asarray(index, np.int64)
        crops = np.empty((len(chosen), CROP_SIZE, CROP_SIZE, 3), np.uint8)
        for place, i in enumerate(chosen):
            crops[place] = decode_crop(self._shards[self._shard[i]][self._begins[i] : self._ends[i]].data)
        return crops

    def masks(
        self, index: Integer[np.ndarray, "photos"] | Sequence[int]
    ) -> Bool[np.ndarray, "photos 240 240"]:
        """Return the face regions of the same crops."""
        masks = np.empty((len(index), CROP_SIZE, CROP_SIZE), bool)
        for place, i in enumerate(np.asarray(index, np.int64)):
            masks[place] = face_mask(self.landmarks[i])
        return masks

    def people(self) -> list[str]:
        """Return the folder of each photo, which stands for a person; a photo without one is its own."""
        return [name.rpartition("/")[0] or name for name in self.names]

    def split(
        self, share: float, seed: int = 0
    ) -> tuple[Int64[np.ndarray, "train"], Int64[np.ndarray, "held_out"]]:
        """Set faces aside so that nobody (no folder) is on both sides.

        Args:
            share: The least share of the faces to hold out, in [0, 1).
            seed: Decides who.

        Returns:
            Indices to train on, and indices held out, each ascending.

        Raises:
            InputError: The share isn't in [0, 1), or nobody would be left to train on.
        """
        if not 0 <= share < 1:
            raise InputError(f"The share to hold out lies in [0, 1), but this is {share}.")
        people, person = np.unique(np.array(self.people()), return_inverse=True)
        counts = np.bincount(person, minlength=len(people))
        order = np.random.default_rng(seed).permutation(len(people))
        before = np.cumsum(counts[order]) - counts[order]
        held = np.zeros(len(people), bool)
        held[order[before < share * len(self)]] = True
        if held.all():
            raise InputError(f"Holding {share:.0%} out would leave no person of {len(people)} to train on.")
        out = held[person]
        return np.nonzero(~out)[0], np.nonzero(out)[0]


def read_table(path: Path) -> dict[str, np.ndarray]:
    """Read a shard's table."""
    # Opened here: numpy leaves a damaged file open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def content_digest(folder: Path, shards: int) -> str:
    """Return the SHA-256 of all tables; each holds that of its crops."""
    digest = hashlib.sha256()
    for number in range(shards):
        digest.update(shard_paths(folder, number)[1].read_bytes())
    return digest.hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_bytes())
        version = manifest["version"]
    except FileNotFoundError:
        if (path / PLAN).is_file():
            raise InputError(f"{path} isn't prepared to the end: run training.prepare again.") from None
        raise InputError(f"{path} is no store of photos: make one with training.prepare.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path / MANIFEST} can't be read ({error}); prepare the store anew.") from error
    if version != VERSION:
        raise InputError(
            f"{path} is a store of version {version}; this code reads {VERSION}: prepare it anew."
        )
    return manifest

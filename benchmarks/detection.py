"""The search for faces beside a full search: ``python -m benchmarks.detection``; last line name=value pairs.

A photo's largest face is searched both ways. Recall counts, of the photos where the full search finds a face,
those where ours finds one that shares more than half of the union with it. Where the network's proposals are
not confirmed ours falls back on the full search, whose time then adds to its own. The table of sizes has
dlib's frontal detector on the whole photo beside both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from benchmarks.timing import Call, Harness
from inversefacenet.dlib_models import DlibModels
from inversefacenet.errors import ImageError, InputError, InverseFaceNetError
from inversefacenet.face_patch import overlap
from inversefacenet.face_search import CopySearch, Found
from inversefacenet.image import load_photo
from inversefacenet.landmarks import MINIMUM_SIZE
from inversefacenet.proposal_search import ProposalSearch

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp")
SIDES: Final = (250, 512, 1000, 1500, 3000, 6000)
REPORTED_SIDE: Final = 512
AGREEMENT: Final = 0.5
EXAMPLE: Final = Path("examples", "astronaut.png")
_HEAD: Final = (150, 0, 310, 200)  # left, top, right, bottom in the example

Photo = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Outcome:
    """What both searches say of a photo.

    Attributes:
        name: The photo's.
        full: Faces found by the full search.
        found: Faces found by ours.
        agrees: Their largest faces share more than half of the union.
        fell_back: Ours had to search in full.
        shift: Distance of the largest faces' centres in the full search's widths, (x, y).
        width_ratio: Our largest face's width over the full search's.
        score_difference: Our largest face's margin less the full search's.
    """

    name: str
    full: int
    found: int
    agrees: bool
    fell_back: bool
    shift: tuple[float, float]
    width_ratio: float
    score_difference: float


class Searches:
    """Both searches, with detectors of their own."""

    def __init__(self) -> None:
        models = DlibModels()
        self.frontal = models.frontal()
        self._copies = CopySearch(models)
        self._proposals = ProposalSearch(models)
        self._proposals.load()

    def full(self, photo: Photo) -> list[Found]:
        """Search copies of the photo for its largest face."""
        return _by_size(self._copies.search(photo, faces="largest", minimum_size=MINIMUM_SIZE))

    def proposed(self, photo: Photo) -> list[Found]:
        """Search where the network proposes faces; empty where none is confirmed."""
        return _by_size(self._proposals.search(photo, faces="largest", minimum_size=MINIMUM_SIZE))

    def ours(self, photo: Photo) -> list[Found]:
        """Search as `FaceDetector` does."""
        return self.proposed(photo) or self.full(photo)

    def compare(self, name: str, photo: Photo) -> Outcome:
        """Search a photo both ways."""
        full, found = self.full(photo), self.proposed(photo)
        fell_back = not found
        found = found or full
        if not (full and found):
            none = (float("nan"), float("nan"))
            return Outcome(name, len(full), len(found), False, fell_back, none, *none)
        one, other = full[0], found[0]
        return Outcome(
            name,
            len(full),
            len(found),
            overlap(one.box, other.box) > AGREEMENT,
            fell_back,
            (
                (sum(other.box[0::2]) - sum(one.box[0::2])) / 2 / one.width,
                (sum(other.box[1::2]) - sum(one.box[1::2])) / 2 / one.width,
            ),
            other.width / one.width,
            other.score - one.score,
        )


def figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Summarise what was found: shares of the photos, medians where the proposals' faces agree."""
    with_face = [one for one in outcomes if one.full]
    own = [one for one in with_face if one.agrees and not one.fell_back]
    found = {
        "photos": float(len(outcomes)),
        "with_face": float(len(with_face)),
        "recall": _share([one.agrees for one in with_face]),
        "fell_back": _share([one.fell_back for one in with_face]),
        "found_more": float(sum(1 for one in outcomes if one.found and not one.full)),
    }
    if own:
        found |= {
            "shift_x": statistics.median(one.shift[0] for one in own),
            "shift_y": statistics.median(one.shift[1] for one in own),
            "width_ratio": statistics.median(one.width_ratio for one in own),
            "score_difference": statistics.median(one.score_difference for one in own),
        }
    return found


def photos_of(folder: Path, limit: int | None = None) -> Iterator[tuple[str, Photo]]:
    """Yield the photos of a folder of any depth that can be read, spread over it where they are limited.

    Raises:
        InputError: If there is none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(f"{folder} holds no photo.")
    if limit is not None and limit < len(paths):
        paths = [paths[int(n)] for n in np.linspace(0, len(paths) - 1, limit)]
    for path in paths:
        try:
            yield str(path.relative_to(folder)), load_photo(path)
        except ImageError:
            continue


def composed(count: int = 40, seed: int = 0) -> Iterator[tuple[str, Photo]]:
    """Yield pictures of one head, from an eighth of the shorter side up, at places all over."""
    rng = np.random.default_rng(seed)
    head = Image.fromarray(load_photo(EXAMPLE)).crop(_HEAD)
    for number in range(count):
        width, height = (int(side) for side in rng.integers(300, 1600, 2))
        slope = np.linspace(rng.uniform(20, 200), rng.uniform(20, 200), width).astype(np.uint8)
        canvas = Image.fromarray(np.broadcast_to(slope[None, :, None], (height, width, 3)).copy())
        wide = min(width, height) * np.exp(rng.uniform(np.log(0.2), np.log(0.75)))
        size = (round(wide), round(wide * head.height / head.width))
        place = (
            int(rng.integers(0, width - size[0] + 1)),
            int(rng.integers(0, max(height - size[1], 0) + 1)),
        )
        picture = head.resize(size, Image.Resampling.LANCZOS)
        canvas.paste(picture if rng.random() < 0.7 else picture.convert("L").convert("RGB"), place)
        yield f"composed {number}", np.asarray(canvas)


def time_sizes(
    photo: Photo, sides: Sequence[int], searches: Searches, harness: Harness, most_searched: int = 3000
) -> dict[int, dict[str, float]]:
    """Time both searches of a photo at several sizes, in milliseconds.

    Args:
        photo: Its shorter side becomes the size.
        sides: The sizes.
        searches: What is timed.
        harness: How.
        most_searched: dlib's detector is not asked about larger photos.
    """
    table = {}
    for side in sides:
        scale = side / min(photo.shape[:2])
        size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
        sized = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))
        calls: dict[str, Call] = {
            "ours": lambda sized=sized: searches.ours(sized),  # type: ignore[misc]
            "full": lambda sized=sized: searches.full(sized),  # type: ignore[misc]
        }
        if side <= most_searched:
            calls["hog"] = lambda sized=sized: searches.frontal.run(sized, 0, 0.0)  # type: ignore[misc]
        table[side] = {name: timing.milliseconds for name, timing in harness.alternate(calls).items()}
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detection", description="Compare the search for faces with a full one."
    )
    parser.add_argument(
        "--photos", type=Path, nargs="*", default=[], help="folders; by default pictures that are composed"
    )
    parser.add_argument("--limit", type=int, help="so many photos of each folder")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=15, help="turns of each candidate")
    parser.add_argument("--list", action="store_true", help="name the photos where the two disagree")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write everything as JSON, too")
    values = parser.parse_args(arguments)
    try:
        searches = Searches()
        sets = {str(folder.name): photos_of(folder, values.limit) for folder in values.photos}
        results = {}
        for name, photos in (sets or {"composed": composed()}).items():
            outcomes = [searches.compare(label, photo) for label, photo in photos]
            results[name] = figures(outcomes)
            print(f"{name}: " + " ".join(f"{key}={value:.4g}" for key, value in results[name].items()))
            for one in outcomes if values.list else ():
                if (one.full and not one.agrees) or one.fell_back:
                    print(f"  {one}")
        harness = Harness(rounds=values.rounds)
        table = time_sizes(load_photo(EXAMPLE), values.sizes, searches, harness)
    except InverseFaceNetError as error:
        print(f"benchmarks.detection: {error}", file=sys.stderr)
        return 1
    print(f"{'side':>6}{'ours ms':>10}{'full ms':>10}{'HOG ms':>10}")
    for side, times in table.items():
        print(
            f"{side:>6}"
            + "".join(f"{times.get(name, float('nan')):10.2f}" for name in ("ours", "full", "hog"))
        )
    if values.output is not None:
        values.output.parent.mkdir(parents=True, exist_ok=True)
        values.output.write_text(json.dumps({"sets": results, "sizes": table}, indent=2) + "\n")
    recall = sum(one["recall"] * one["with_face"] for one in results.values())
    pairs = {"detect_recall": recall / max(sum(one["with_face"] for one in results.values()), 1)}
    reported = REPORTED_SIDE if REPORTED_SIDE in table else min(table, default=0)
    if reported:
        pairs |= {"detect_ms": table[reported]["ours"], "detect_full_ms": table[reported]["full"]}
        pairs["detect_largest_photo_ms"] = table[max(table)]["ours"]
    print(" ".join(f"{key}={value:.4g}" for key, value in pairs.items()))
    return 0


def _by_size(found: list[Found]) -> list[Found]:
    return sorted(found, key=lambda one: one.width, reverse=True)


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else float("nan")


if __name__ == "__main__":
    raise SystemExit(main())

"""Evaluate a network as Section 8 does: ``python -m training.evaluate photos --photos FOLDER``.

``photos`` measures a folder of photographs (photometric error, IoU, landmarks), ``rendered`` measures
rendered faces whose truth is known (geometry, rotation, reflectance, light besides). Both stand beside
two baselines, and need no PyTorch. Nothing is fitted to a photo but the baselines' light (and pose); every
detected face counts. The last line sums up as ``name=value``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from inversefacenet.backends import InferenceBackend
from inversefacenet.backends.onnx import OnnxBackend, default_model_path
from inversefacenet.camera import rotation_matrix
from inversefacenet.crop import FaceCrop, crop_face
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.image import load_photo
from inversefacenet.landmarks import FaceDetector
from inversefacenet.metrics import geometric_error, measure, rotation_error
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import DISTRIBUTIONS
from training.baselines import mean_face, posed_mean_face
from training.rendered import rendered_crop

SUFFIXES: Final = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"))
EVALUATION_FILE: Final = "evaluation.json"
TEST_SEED: Final = 20180618
"""Seed of the rendered test sets."""

Row = dict[str, float]
Method = Callable[[FaceCrop], Parameters]


@dataclass(frozen=True)
class Evaluation:
    """Figures of several methods on the same faces.

    Attributes:
        rows: A row of figures per face and method.
        failed: Photos that gave no face: unreadable, or none detected.
        names: Where each face comes from.
    """

    rows: dict[str, list[Row]]
    failed: list[str]
    names: list[str]

    def mean(self, method: str, figure: str) -> float:
        """Return the mean of a figure over all faces."""
        return float(np.mean([row[figure] for row in self.rows[method]]))

    def table(self) -> str:
        """Return the figures as a Markdown table: mean ± standard deviation."""
        figures = list(next(iter(self.rows.values()))[0])
        lines = ["| method | " + " | ".join(figures) + " |", "|---" * (len(figures) + 1) + "|"]
        for method, rows in self.rows.items():
            cells = []
            for figure in figures:
                values = np.array([row[figure] for row in rows])
                cells.append(f"{values.mean():.4g} ± {values.std():.3g}")
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Evaluate a network as Section 8 does."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    photos = commands.add_parser("photos", help="a folder of photographs, of any depth")
    photos.add_argument("--photos", type=Path, required=True)
    photos.add_argument("--faces", choices=("all", "largest"), default="all", help="which faces count")
    rendered = commands.add_parser("rendered", help="rendered faces with known truth")
    rendered.add_argument("--distribution", choices=DISTRIBUTIONS, default="higher-variation")
    rendered.add_argument("--count", type=int, default=2000)
    for command in (photos, rendered):
        command.add_argument("--network", type=Path, default=None, help="ONNX file; default: the shipped one")
        command.add_argument("--no-baselines", action="store_true", help="measure the network alone")
        command.add_argument(
            "--record", metavar="NAME", default="", help="keep the figures beside the network"
        )
    values = parser.parse_args(arguments)
    try:
        model, backend = MorphableModel.load_default(), OnnxBackend(values.network)
        methods = choose_methods(model, backend, baselines=not values.no_baselines)
        if values.command == "photos":
            evaluation = evaluate_photos(values.photos, model, methods, values.faces == "all")
            summary: tuple[str, ...] = ("photometric", "iou", "landmark")
        else:
            evaluation = evaluate_rendered(values.distribution, values.count, model, methods)
            summary = ("geometric", "rotation", "reflectance", "light", "photometric", "iou", "landmark")
    except InverseFaceNetError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    for name in evaluation.failed:
        print(f"failed: {name}")
    print(evaluation.table())
    figures = " ".join(f"{figure}={evaluation.mean('network', figure):.4f}" for figure in summary)
    if values.record:
        record(evaluation, values.record, values.network or default_model_path(), backend.digest)
    print(f"n={len(evaluation.names)} failed={len(evaluation.failed)} {figures}")
    return 0


def record(evaluation: Evaluation, name: str, network: Path, digest: str) -> Path:
    """Write the figures into `evaluation.json` beside the network's file, under a name.

    Figures of other names stay, unless they are of another network.
    """
    path = network.with_name(EVALUATION_FILE)
    kept = json.loads(path.read_text()) if path.is_file() else {}
    if kept.get("sha256") != digest:
        kept = {"sha256": digest, "evaluations": {}}
    kept["evaluations"][name] = {
        "faces": len(evaluation.names),
        "failed": len(evaluation.failed),
        **{
            method: {figure: round(evaluation.mean(method, figure), 5) for figure in rows[0]}
            for method, rows in evaluation.rows.items()
        },
    }
    path.write_text(json.dumps(kept, indent=1) + "\n")
    return path


def choose_methods(model: MorphableModel, backend: InferenceBackend, baselines: bool) -> dict[str, Method]:
    """Return the network, and the baselines if they are wanted, by the names that the table gives them."""

    def network(crop: FaceCrop) -> Parameters:
        return Parameters.from_vector(backend.infer(crop.image[None])[0])

    methods: dict[str, Method] = {"network": network}
    if baselines:
        methods["mean face, best constant light"] = lambda crop: mean_face(model, crop)
        methods["same, pose fitted to landmarks"] = lambda crop: posed_mean_face(model, crop)
    return methods


def evaluate_photos(
    folder: Path, model: MorphableModel, methods: dict[str, Method], all_faces: bool
) -> Evaluation:
    """Measure the methods on the faces of a folder's photographs.

    Raises:
        InputError: If the folder holds no photograph, or no photograph shows a face.
    """
    paths = find_photos(folder)
    detector = FaceDetector()

    def work(path: Path) -> tuple[str, list[dict[str, Row]], str]:
        try:
            photo = load_photo(path)
            faces = detector.detect(photo, faces="all" if all_faces else "largest")
            crops = [crop_face(photo, face.landmarks) for face in faces]
        except InverseFaceNetError as error:
            return str(path.relative_to(folder)), [], error.slug
        measured = [
            {name: measure(crop, render(model, method(crop))).to_dict() for name, method in methods.items()}
            for crop in crops
        ]
        return str(path.relative_to(folder)), measured, ""

    rows: dict[str, list[Row]] = {name: [] for name in methods}
    failed: list[str] = []
    names: list[str] = []
    with ThreadPoolExecutor() as pool:
        for name, measured, reason in _progress(pool.map(work, paths), len(paths)):
            if reason:
                failed.append(f"{name} ({reason})")
            for figures in measured:
                names.append(name)
                for method, row in figures.items():
                    rows[method].append(row)
    if not names:
        raise InputError(f"No photograph in {folder} shows a face that the detector finds.")
    return Evaluation(rows, failed, names)


def find_photos(folder: Path) -> list[Path]:
    """Return a folder's photographs, at any depth, in order of name.

    Raises:
        InputError: If there are none.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"There are no photographs in {folder}: {', '.join(sorted(SUFFIXES))} are read.")
    return paths


def evaluate_rendered(
    distribution: str, count: int, model: MorphableModel, methods: dict[str, Method]
) -> Evaluation:
    """Measure the methods on rendered faces whose parameters are known."""
    thetas = DISTRIBUTIONS[distribution].sample(np.random.default_rng(TEST_SEED), count, model)

    def work(theta: Float[np.ndarray, "350"]) -> dict[str, Row]:
        truth = Parameters.from_vector(theta)
        crop = rendered_crop(model, truth)
        return {name: _compare(model, crop, truth, method(crop)) for name, method in methods.items()}

    rows: dict[str, list[Row]] = {name: [] for name in methods}
    with ThreadPoolExecutor() as pool:
        for figures in _progress(pool.map(work, thetas), count):
            for method, row in figures.items():
                rows[method].append(row)
    return Evaluation(rows, [], [f"{distribution} {i}" for i in range(count)])


def _compare(model: MorphableModel, crop: FaceCrop, truth: Parameters, answer: Parameters) -> Row:
    painted = model.painted_vertices
    geometry = [model.geometry(p.shape, p.expression)[painted] for p in (answer, truth)]
    skin = [model.reflectance(p.reflectance)[painted] for p in (answer, truth)]
    return {
        "geometric": geometric_error(geometry[0], geometry[1]),
        "rotation": rotation_error(rotation_matrix(answer.rotation), rotation_matrix(truth.rotation)),
        "reflectance": float(np.sqrt(((skin[0] - skin[1]) ** 2).mean())),
        "light": float(np.sqrt(((answer.illumination - truth.illumination) ** 2).mean())),
        **measure(crop, render(model, answer)).to_dict(),
    }


def _progress(items: Iterator[Any], total: int) -> Iterator[Any]:
    """Pass items on, counting them on the terminal's last line."""
    shown = sys.stderr.isatty()
    for done, item in enumerate(items, start=1):
        if shown:
            print(f"\r{done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
        yield item


if __name__ == "__main__":
    raise SystemExit(main())

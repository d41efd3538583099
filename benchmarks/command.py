"""The run itself: everything is measured, printed as it comes, and written to files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report
from benchmarks.convolutions import convolution_graph, load_engines
from benchmarks.forward import forward_stages
from benchmarks.machine import describe
from benchmarks.photos import front_stages, photo_steps, prepare
from benchmarks.rendering import rendering_stages
from benchmarks.timing import Harness, Stage, compare
from benchmarks.whole import Whole, time_sizes, time_whole
from benchmarks.worker import measure_worker
from inversefacenet.backends.onnx import OnnxBackend, default_model_path
from inversefacenet.errors import InputError
from inversefacenet.landmarks import FaceDetector
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.reconstruction import Reconstructor


@dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
        photo: A photo with a face.
        network: An exported network, by default the shipped one.
        face_model: A face model, by default the shipped one.
        threads: Threads of each library; 0 for their own choice.
        rounds: Turns of each candidate.
        sides: Sides of the square photos of the table of sizes.
        output: Folder of results.json and table.md.
    """

    photo: Path
    network: Path | None
    face_model: Path | None
    threads: int
    rounds: int
    sides: tuple[int, ...]
    output: Path


def run(options: Options) -> str:
    """Measure everything, print it and write it to files.

    Returns:
        The last line: name=value pairs.

    Raises:
        InverseFaceNetError: If the photo shows no face, or a package or file is missing.
    """
    machine = describe(options.threads)
    network = options.network or default_model_path()
    backend = OnnxBackend(network, options.threads)
    engines = load_engines(convolution_graph(network.read_bytes()), options.threads)
    named = options.face_model
    model = MorphableModel.load(named) if named else MorphableModel.load_default()
    detector = FaceDetector()
    reconstructor = Reconstructor(detector, backend, model)
    example = prepare(_read(options.photo), reconstructor)
    height, width = example.image.shape[:2]
    settings = {
        "photo": options.photo.name,
        "width": width,
        "height": height,
        "network": backend.digest,
        "face_model": model.name,
        "rounds": options.rounds,
    }
    harness = Harness(rounds=options.rounds)
    results = report.Results(machine, settings)
    print(report.machine_line(machine))
    print(report.settings_line(settings), end="\n\n")

    print(report.text_row(report.STAGE_HEADER, report.STAGE_WIDTHS))
    stages: list[Stage] = [
        *front_stages(example, photo_steps(example, reconstructor, detector)),
        *forward_stages(backend, engines, example.crop.image),
        *rendering_stages(model, example),
    ]
    for stage in stages:
        row = compare(stage, harness)
        results.stages.append(row)
        print(report.text_row(report.stage_row(row), report.STAGE_WIDTHS), flush=True)

    print("\n" + report.text_row(report.SIZE_HEADER, report.SIZE_WIDTHS))
    results.photo = time_whole(example, reconstructor, detector, harness)
    _print_size(options.photo.name, results.photo)
    for side, whole in time_sizes(example.image, options.sides, reconstructor, detector, harness):
        results.sizes[side] = whole
        _print_size(f"{side}x{side} JPEG", whole)

    results.worker = measure_worker(options.photo, network, options.face_model, options.threads)
    print("\n" + report.worker_line(results.worker))
    write(results, options.output)
    return report.summary(results)


def _read(photo: Path) -> bytes:
    try:
        return photo.read_bytes()
    except OSError as error:
        raise InputError(f"{photo} can't be read: {error.strerror}.") from error


def _print_size(label: str, whole: Whole | None) -> None:
    print(report.text_row(report.size_row(label, whole), report.SIZE_WIDTHS), flush=True)


def write(results: report.Results, folder: Path) -> None:
    """Write results.json and table.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(report.to_dict(results), indent=1) + "\n")
    (folder / "table.md").write_text(report.markdown(results))

"""The run itself: everything is measured, printed as it comes, and written to files."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks import baseline, report
from benchmarks.batch import compare as compare_batch
from benchmarks.convolutions import convolution_graph, load_engines
from benchmarks.detection import Searches, composed, figures, photos_of
from benchmarks.forward import forward_stages
from benchmarks.machine import describe
from benchmarks.peers import QUOTED, over_hog, time_peers
from benchmarks.photos import front_stages, photo_call, photo_steps, prepare, resized_jpeg
from benchmarks.plot import draw
from benchmarks.ratios import ratios_of
from benchmarks.rendering import rendering_stages
from benchmarks.service import measure_service
from benchmarks.startup import measure_startup
from benchmarks.timing import Harness, Stage, compare
from benchmarks.whole import Whole, time_sizes
from benchmarks.worker import measure_corpus, measure_worker
from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.errors import InputError
from inversefacenet.image import decode_photo
from inversefacenet.landmarks import FaceDetector
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.networks import network_path, reference_path
from inversefacenet.reconstruction import Reconstructor

SIDE = 512
"""Side of the photo whose stages are timed: a JPEG, as cameras store them."""


@dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
        photo: A photo with a face.
        network: An exported network, by default the embedded one.
        reference: The network whose forward pass is held against its convolutions, by default the reference.
        face_model: A face model, by default the shipped one.
        threads: Threads of each library; 0 for their own choice.
        rounds: Turns of each candidate.
        sides: Sides of the square photos of the table of sizes.
        processes: New processes that start-up is measured on.
        corpus_rounds: Batches of the corpus.
        batch_rounds: Turns of one worker and of all cores; 0 leaves the batch out.
        batch_seconds: How long each of them takes.
        price_per_core_hour: What a core costs.
        photos: Folders of photos that recall is measured on, by default composed ones.
        mediapipe: A Python in which MediaPipe is installed, if not this one.
        baseline: Results to compare with, where the file is there.
        save_baseline: Whether to write that file instead.
        add_to_baseline: Whether to add this run to it instead.
        output: Folder of results.json, table.md and plot.png.
    """

    photo: Path
    network: Path | None
    reference: Path | None
    face_model: Path | None
    threads: int
    rounds: int
    sides: tuple[int, ...]
    processes: int
    corpus_rounds: int
    batch_rounds: int
    batch_seconds: float
    price_per_core_hour: float
    photos: tuple[Path, ...]
    mediapipe: Path | None
    baseline: Path
    save_baseline: bool
    add_to_baseline: bool
    output: Path


class Bench:
    """One run, step by step."""

    def __init__(self, options: Options) -> None:
        """Load what is measured, and run it once.

        Raises:
            InverseFaceNetError: If the photo shows no face, or a package or file is missing.
        """
        self._options = options
        machine = describe(options.threads)
        self._network = network_path(options.network)
        self._reference = options.reference or reference_path()
        named = options.face_model
        model = MorphableModel.load(named) if named else MorphableModel.load_default()
        self._detector = FaceDetector()
        backend = OnnxBackend(self._network, options.threads)
        self._reconstructor = Reconstructor(self._detector, backend, model)
        photo = resized_jpeg(decode_photo(_read(options.photo)), SIDE)
        self._example = prepare(photo, self._reconstructor)
        self._harness = Harness(rounds=options.rounds)
        settings = {
            "photo": f"{options.photo.name} as JPEG",
            "width": SIDE,
            "height": SIDE,
            "network": backend.digest,
            "reference": self._reference_backend().digest,
            "face_model": model.name,
            "rounds": options.rounds,
        }
        self.results = report.Results(machine, settings, price_per_core_hour=options.price_per_core_hour)

    def run(self) -> str:
        """Measure everything, print it and write it to files.

        Returns:
            The last line: name=value pairs.
        """
        results = self.results
        print(report.machine_line(results.machine))
        print(report.settings_line(results.settings), end="\n\n")
        self._stages()
        self._sizes()
        self._recall()
        self._peers()
        self._processes()
        self._corpus()
        self._batch()
        self._compare()
        write(results, self._options.output)
        return report.summary(results)

    def _reference_backend(self) -> OnnxBackend:
        return OnnxBackend(self._reference, self._options.threads)

    def _stages(self) -> None:
        print(report.text_row(report.STAGE_HEADER, report.STAGE_WIDTHS))
        example, reconstructor = self._example, self._reconstructor
        engines = load_engines(convolution_graph(self._reference.read_bytes()), self._options.threads)
        stages: list[Stage] = [
            *front_stages(example, photo_steps(example, reconstructor, self._detector)),
            *forward_stages(self._reference_backend(), engines, example.crop.image),
            *rendering_stages(reconstructor.model, example),
        ]
        for stage in stages:
            row = compare(stage, self._harness)
            self.results.stages.append(row)
            print(report.text_row(report.stage_row(row), report.STAGE_WIDTHS), flush=True)

    def _sizes(self) -> None:
        print("\n" + report.text_row(report.SIZE_HEADER, report.SIZE_WIDTHS))
        sides = dict.fromkeys((*self._options.sides, SIDE))
        found = time_sizes(
            self._example.image, list(sides), self._reconstructor, self._detector, self._harness
        )
        for side, whole in found:
            self.results.sizes[side] = whole
            _print_size(f"{side}x{side} JPEG", whole)
        self.results.photo = self.results.sizes[SIDE]

    def _peers(self) -> None:
        results = self.results
        results.peers = time_peers(self._example, self._reconstructor, self._harness, self._options.mediapipe)
        print()
        for name, time in results.peers.items():
            _print_peer(name, report.milliseconds(time), over_hog(results.peers, name))
        for name, ratio in QUOTED.items():
            _print_peer(name, "-", ratio)
        print(report.peers_line(results.peers), flush=True)

    def _processes(self) -> None:
        """Measure what needs processes of its own: service, start-up, memory."""
        options, results = self._options, self.results
        call = photo_call(self._example, self._reconstructor)
        # The service reconstructs all faces of a photo; this one has one.
        results.service = measure_service(self._example.content, call, self._harness)
        print("\n" + report.figures_line(results.service.figures()), flush=True)
        results.start_up = measure_startup(options.photo, options.processes)
        print(report.figures_line(results.start_up.figures()), flush=True)
        results.worker = measure_worker(options.photo, self._network, options.face_model, options.threads)
        print(report.worker_line(results.worker), flush=True)

    def _recall(self) -> None:
        """Compare the search for faces with a full search."""
        folders = self._options.photos
        found_in = itertools.chain.from_iterable(photos_of(folder) for folder in folders)
        photos = found_in if folders else composed()
        searches = Searches()
        found = figures([searches.compare(name, photo) for name, photo in photos])
        self.results.recall = found["recall"]
        self.results.settings["recall_on"] = ", ".join(folder.name for folder in folders) or "composed"
        print("\n" + report.figures_line(found), flush=True)

    def _corpus(self) -> None:
        self.results.corpus_per_core = measure_corpus(self._options.corpus_rounds)
        print(f"corpus_per_core={self.results.corpus_per_core:.0f}", flush=True)

    def _batch(self) -> None:
        options = self._options
        if options.batch_rounds:
            self.results.batch = compare_batch(options.batch_rounds, options.batch_seconds, options.network)
            print(self.results.batch.summary(options.price_per_core_hour), flush=True)

    def _compare(self) -> None:
        path, ratios = self._options.baseline, ratios_of(self.results)
        print()
        if self._options.save_baseline or self._options.add_to_baseline:
            baseline.write(path, self.results.machine, ratios, add=self._options.add_to_baseline)
            print(f"written to be compared with: {path.name}")
        elif path.is_file():
            machine, then = baseline.read(path)
            same = baseline.same_machine(machine, self.results.machine)
            self.results.changes = changes = baseline.compare(ratios, then, same=same)
            where = (
                "the same kind of machine" if same else f"another: {machine['cpu']}, {machine['cores']} cores"
            )
            print(f"Beside the committed runs, on {where}:")
            for change in changes:
                print(change.line())
            worse = [change.name for change in changes if change.regression]
            if worse:
                print(f"WARNING: worse than the committed runs beyond noise: {', '.join(worse)}")


def run(options: Options) -> str:
    """Measure everything, print it and write it to files.

    Returns:
        The last line: name=value pairs.

    Raises:
        InverseFaceNetError: If the photo shows no face, or a package or file is missing.
    """
    return Bench(options).run()


def _read(photo: Path) -> bytes:
    try:
        return photo.read_bytes()
    except OSError as error:
        raise InputError(f"{photo} can't be read: {error.strerror}.") from error


def _print_size(label: str, whole: Whole | None) -> None:
    print(report.text_row(report.size_row(label, whole), report.SIZE_WIDTHS), flush=True)


def _print_peer(name: str, milliseconds: str, ratio: float) -> None:
    print(f"{name:54} {milliseconds:>8} ms {ratio:7.3f} x HOG")


def write(results: report.Results, folder: Path) -> None:
    """Write results.json, table.md and plot.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(report.to_dict(results), indent=1) + "\n")
    (folder / "table.md").write_text(report.markdown(results))
    draw(results, folder / "plot.png")

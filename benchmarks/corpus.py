"""Faces a second of the synthetic corpus: ``python -m benchmarks.corpus``, on one core, or on a GPU.

Faces are drawn, rendered and augmented as in training, by compiled code and, where torch is installed, by
torch, in turn. On a CPU times are of the one thread that works, so that what else runs on the machine counts
less; with ``--device cuda`` torch renders as many faces at once as it does in training, and the clock on the
wall counts. ``--train`` also times steps of training, and says which part of them waits for the corpus.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

SECOND_NS = 1e9
ROUNDS = 5


@dataclass
class StepTimes:
    """Nanoseconds of this thread by step; passed to the compiled renderer."""

    total: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what is done in this context."""
        start = time.thread_time_ns()
        yield
        self.total[name] += time.thread_time_ns() - start


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__)
    parser.add_argument("--faces", type=int, default=32, help="faces in a batch")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="batches of each way")
    parser.add_argument("--augmentation", default="photographic", help="a mixture, or steps")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where torch renders")
    parser.add_argument("--train", type=int, default=0, metavar="STEPS", help="steps of training to time")
    values = parser.parse_args(arguments)
    if values.faces < 1 or values.rounds < 2:
        parser.error("--faces must be 1 or more, --rounds 2 or more.")

    from benchmarks.machine import set_threads

    if values.device == "cpu":
        set_threads(1)
    # Only now: numerical libraries read the number of their threads when they are imported.
    has_torch = importlib.util.find_spec("torch") is not None
    if not has_torch:
        print("torch isn't installed (the extra `training` brings it): the compiled corpus alone.")
        if values.device == "cuda":
            parser.error("--device cuda needs torch.")
    batch = compiled_batch(values.faces, values.augmentation)
    ways: dict[str, Callable[[int], object]] = {"compiled": batch}
    clock = time.thread_time_ns
    if has_torch and values.device == "cpu":
        ways["torch"] = torch_batch(values.faces, values.augmentation, "cpu")
    if values.device == "cuda":
        ways, clock = {"torch on cuda": torch_batch(512, values.augmentation, "cuda")}, time.perf_counter_ns
    faces = 512 if values.device == "cuda" else values.faces
    best = time_ways(ways, values.rounds, clock)
    for name, nanoseconds in best.items():
        rate = faces / nanoseconds * SECOND_NS
        print(f"{name:14} {nanoseconds / faces / 1e3:9.0f} us a face {rate:9.0f} faces/s")
    if values.device == "cpu":
        print_steps(batch, values.faces, values.rounds)
    waiting = ""
    if values.train:
        if not has_torch:
            parser.error("--train needs torch.")
        waiting = f" waiting={train_waiting(values.train, values.faces, values.augmentation):.3f}"
    fastest = next(iter(best.values()))
    others = [value for name, value in best.items() if name == "torch"]
    ratio = f" times_torch={others[0] / fastest:.2f}" if others else ""
    print(f"corpus_per_core={faces / fastest * SECOND_NS:.0f}{ratio}{waiting}")
    return 0


def compiled_batch(faces: int, augmentation: str) -> Callable[..., object]:
    """Return what draws and renders batch i by compiled code."""
    from inversefacenet.morphable_model import MorphableModel
    from inversefacenet.sampling import NATURAL
    from training.augmentation_options import augmentation_named
    from training.compiled_corpus.renderer import CompiledRenderer

    model = MorphableModel.load_default()
    renderer, pictures = CompiledRenderer(model), augmentation_named(augmentation)

    def batch(index: int, step: StepTimes | None = None) -> object:
        with (step or StepTimes())("parameters"):
            theta = NATURAL.sample(np.random.default_rng([0, index]), faces, model)
        return renderer.render(theta, pictures, index, *([] if step is None else [step]))

    return batch


def torch_batch(faces: int, augmentation: str, device: str) -> Callable[[int], object]:
    """Return what draws and renders batch i by torch."""
    import torch

    from inversefacenet.morphable_model import MorphableModel
    from inversefacenet.sampling import NATURAL
    from training.augmentation_options import augmentation_named
    from training.corpus import RenderedCorpus

    corpus = RenderedCorpus(
        model=MorphableModel.load_default(),
        distribution=NATURAL,
        augmentation=augmentation_named(augmentation),
        batch_size=faces,
        batches=1_000_000,
        seed=0,
        device=torch.device(device),
        compiled=False,
    )
    if device == "cpu":
        torch.set_num_threads(1)
        return lambda index: corpus[index]
    # In training other processes draw the parameters meanwhile (`training.device_batches`).
    drawn = torch.from_numpy(corpus.draw(0)[0])

    def batch(index: int) -> object:
        result = corpus.render(drawn, index)
        torch.cuda.synchronize()
        return result

    return batch


def time_ways(
    ways: dict[str, Callable[[int], object]], rounds: int, clock: Callable[[], int]
) -> dict[str, float]:
    """Return the lower quartile of each way's nanoseconds a batch; the ways take turns."""
    times: dict[str, list[int]] = {name: [] for name in ways}
    for index in range(rounds + 1):
        for name, batch in ways.items():
            start = clock()
            batch(index)
            # The first batch compiles.
            if index:
                times[name].append(clock() - start)
    return {name: statistics.quantiles(values, n=4, method="inclusive")[0] for name, values in times.items()}


def print_steps(batch: Callable[..., object], faces: int, rounds: int) -> None:
    """Print what each step of the compiled corpus takes."""
    steps = StepTimes()
    for index in range(1, rounds + 1):
        batch(index, steps)
    print("\nstep          us a face")
    for name, nanoseconds in steps.total.most_common():
        print(f"{name:14}{nanoseconds / faces / rounds / 1e3:9.1f}")


def train_waiting(steps: int, faces: int, augmentation: str) -> float:
    """Train for some steps, and return the share of their time that they wait for batches."""
    import torch

    from inversefacenet.morphable_model import MorphableModel
    from training.batches import batches, corpus_of
    from training.network import build
    from training.options import Options, Run
    from training.step import Step

    options = Options(iterations=steps + 2, batch_size=faces, augmentation=augmentation)
    device = torch.device("cpu")
    model = MorphableModel.load_default()
    network = build(options.to_dict())
    step = Step(network, torch.optim.AdamW(network.parameters()), None, options, model, device, False)
    waited = worked = 0.0
    with TemporaryDirectory() as folder:
        run = Run(Path(folder), device="cpu", workers=1, threads=1)
        stream = iter(batches(corpus_of(model, options, device), run, device, 0))
        for index in range(steps + 2):
            start = time.perf_counter()
            batch = next(stream)
            middle = time.perf_counter()
            step(batch)
            # The first batches wait for the worker to start.
            if index >= 2:
                waited += middle - start
                worked += time.perf_counter() - middle
    print(f"training: a step {worked / steps:.2f} s, waiting for its batch {waited / steps * 1e3:.1f} ms")
    return waited / (waited + worked)


if __name__ == "__main__":
    sys.exit(main())

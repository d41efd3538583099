"""What a training run can be told, and the two named configurations."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from inversefacenet.errors import InputError
from inversefacenet.sampling import DISTRIBUTIONS
from training.corpus import augmentation_named
from training.loss import WEIGHTS


@dataclass(frozen=True)
class Options:
    """Options of one training run; a checkpoint keeps them.

    The defaults are what trains best from scratch here (`docs/results.md` compares); `PAPER` is
    Section 6.1.

    Attributes:
        iterations: Batches until training ends.
        batch_size: Faces in a batch.
        optimizer: "adamw" with a one-cycle rate, or "adadelta" with a constant one.
        learning_rate: Base (AdaDelta) or peak (one-cycle) rate.
        weight_decay: Weight decay: l2 with AdaDelta, decoupled with AdamW.
        batch_norm: Normalise after each convolution (folded away at export).
        rank: Rank of the two large fully connected layers, 0 for whole ones.
        dropout: Dropout before them.
        loss: "model-space" (Eq. 7), "plain", or "none": photographs alone, as MoFA trains.
        weights: The omegas of Eq. 8: "paper" or "balanced".
        image_space: Add the terms of `training.image_space`.
        distribution: Where parameters are drawn from (`inversefacenet.sampling`).
        augmentation: What happens to the crops: a mixture or a list of steps (`training.corpus`).
        initial: Checkpoint of another run whose network this one starts from, to train in stages.
        architecture: "alexnet", "resnet101" or "fast" (`training.fast_network`).
        face_model: File of the face model; the one that ships by default.
        corpus_faces: Rendered faces after which the corpus begins again, 0 for never.
        parameters: File (.npy, faces x 350) of parameters to render: what bootstrapping drew around its
            answers to photographs.
        parameters_share: Share of each batch that comes from it; the rest is drawn from `distribution`.
        photos: Photo store (`training.prepare`) whose photographs teach by their own pixels
            (`training.photometric`).
        photo_batch: Photographs in a batch, beside `batch_size` rendered faces.
        photo_weight: Factor of the photographs' terms.
        fits: Fits to a photo store's photographs (`training.fit_photos`) that are learnt instead of
            rendered faces; `photos` names the store.
        taught: A teacher's answers (`training.teacher_answers`), learnt as if they were true.
        taught_batch: Of those in a batch, beside `batch_size` rendered faces, which may then be 0.
        batch_parts: Parts of a batch that are drawn each on its own, so that as many processes, or fewer, may
            share a batch (`training.distributed`).
        seed: The same seed trains the same network, up to the rounding of the machine.
    """

    iterations: int = 75_000
    batch_size: int = 32
    optimizer: str = "adamw"
    learning_rate: float = 5e-4
    weight_decay: float = 1e-3
    batch_norm: bool = True
    rank: int = 512
    dropout: float = 0.0
    loss: str = "model-space"
    weights: str = "balanced"
    image_space: bool = True
    distribution: str = "natural"
    augmentation: str = "photographic"
    initial: str = ""
    architecture: str = "alexnet"
    face_model: str = ""
    corpus_faces: int = 0
    parameters: str = ""
    parameters_share: float = 1.0
    photos: str = ""
    photo_batch: int = 0
    photo_weight: float = 1000.0
    fits: str = ""
    taught: str = ""
    taught_batch: int = 0
    batch_parts: int = 1
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the options by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


DEFAULT: Final = Options()
PAPER: Final = Options(
    optimizer="adadelta",
    learning_rate=0.01,
    batch_norm=False,
    rank=0,
    dropout=0.5,
    weights="paper",
    image_space=False,
    distribution="paper",
    augmentation="none",
)
PRESETS: Final[Mapping[str, Options]] = {"default": DEFAULT, "paper": PAPER}

CHOICES: Final[Mapping[str, Sequence[str]]] = {
    "optimizer": ("adamw", "adadelta"),
    "loss": ("model-space", "plain", "none"),
    "architecture": ("alexnet", "resnet101", "fast"),
    "weights": tuple(WEIGHTS),
    "distribution": tuple(DISTRIBUTIONS),
}


@dataclass(frozen=True)
class Run:
    """Where and how a run happens; nothing of this changes what is trained.

    Attributes:
        output: Folder of checkpoints and logs; a run that stopped resumes from it.
        device: "cpu", "cuda" or "auto".
        precision: "bf16" runs the network's matrix products in bfloat16.
        workers: Processes that render batches on the CPU.
        threads: Threads of the network's own computation on the CPU, 0 for all.
        checkpoint_every: Iterations between checkpoints.
        validate_every: Iterations between validations.
        stop_after: Seconds after which to checkpoint and stop, 0 for never.
        imagenet: torchvision's AlexNet weights to start from.
        tensorboard: Write TensorBoard logs.
    """

    output: Path
    device: str = "auto"
    precision: str = "fp32"
    workers: int = 1
    threads: int = 0
    checkpoint_every: int = 500
    validate_every: int = 500
    stop_after: float = 0.0
    imagenet: Path | None = None
    tensorboard: bool = False


def parse(arguments: Sequence[str] | None = None) -> tuple[Options, Run]:
    """Read the command line of `python -m training.train`."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description="Train the network on rendered faces, on a CPU or a GPU. A run that was stopped "
        "resumes where its last checkpoint left it.",
    )
    parser.add_argument("--preset", choices=PRESETS, default="default", help="where the options start")
    options = parser.add_argument_group("options that change what is trained")
    for item in fields(Options):
        flag = f"--{item.name.replace('_', '-')}"
        default = getattr(DEFAULT, item.name)
        if isinstance(default, bool):
            options.add_argument(flag, action=argparse.BooleanOptionalAction, default=None)
        else:
            options.add_argument(flag, type=type(default), choices=CHOICES.get(item.name), default=None)
    run = parser.add_argument_group("where and how it runs")
    run.add_argument("--output", type=Path, required=True, help="folder of checkpoints and logs")
    run.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    run.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    run.add_argument("--workers", type=int, default=1, help="processes that render on the CPU")
    run.add_argument("--threads", type=int, default=0, help="threads of the network on the CPU, 0: all")
    run.add_argument("--checkpoint-every", type=int, default=500)
    run.add_argument("--validate-every", type=int, default=500)
    run.add_argument("--stop-after", type=float, default=0.0, help="seconds until checkpoint and stop")
    run.add_argument("--imagenet", type=Path, default=None, help="AlexNet weights to start from")
    run.add_argument("--tensorboard", action="store_true", help="write TensorBoard logs")
    values = vars(parser.parse_args(arguments))
    try:
        augmentation_named(values["augmentation"] or DEFAULT.augmentation)
    except InputError as error:
        parser.error(str(error))
    chosen = {item.name: values[item.name] for item in fields(Options) if values[item.name] is not None}
    where = {item.name: values[item.name] for item in fields(Run)}
    return replace(PRESETS[values["preset"]], **chosen), Run(**where)

"""What one step of training sees: rendered or fitted faces with their parameters, photographs, or both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from inversefacenet.camera import CROP_SIZE
from inversefacenet.errors import InputError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import PARAMETER_COUNT
from inversefacenet.sampling import DISTRIBUTIONS
from training.corpus import Batch, RenderedCorpus, augmentation_named
from training.device_batches import device_batches
from training.distributed import Processes
from training.fitted_corpus import FittedCorpus
from training.options import Options, Run
from training.photo_corpus import PhotoBatch, PhotoCorpus
from training.taught_corpus import TaughtCorpus
from training.teacher_answers import halved


class TrainingBatch(NamedTuple):
    """Input of one step.

    Attributes:
        labelled: Crops and their parameters, if the loss compares parameters.
        photos: Photographs, if some teach by their own pixels.
    """

    labelled: Batch | None
    photos: PhotoBatch | None

    def to(self, device: torch.device) -> TrainingBatch:
        """Move everything to a device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return TrainingBatch(
            None if self.labelled is None else (move(self.labelled[0]), move(self.labelled[1])),
            None if self.photos is None else PhotoBatch(*(move(one) for one in self.photos)),
        )


@dataclass(frozen=True)
class TrainingCorpus(Dataset[TrainingBatch]):
    """Labelled faces and photographs side by side.

    A batch is made of parts, drawn each on its own: part p of batch i is entry i * parts + p of the corpora.

    Attributes:
        labelled: Parts of rendered or fitted faces.
        photos: Parts of photographs.
        parts: Parts of a batch.
        own: Those that this process trains on.
        taught: Parts of a teacher's answers.
    """

    labelled: RenderedCorpus | FittedCorpus | None
    photos: PhotoCorpus | None
    parts: int = 1
    own: range = range(1)
    taught: TaughtCorpus | None = None

    def __len__(self) -> int:
        corpora = (self.labelled, self.photos, self.taught)
        return max(len(c) for c in corpora if c is not None) // self.parts

    def __getitem__(self, index: int) -> TrainingBatch:
        numbers = [index * self.parts + part for part in self.own]
        labelled, photos = None, None
        sources = [one for one in (self.labelled, self.taught) if one is not None]
        if sources:
            crops, theta = zip(*(one[number] for one in sources for number in numbers), strict=True)
            # A teacher's answers come with halved crops: then all are.
            small = any(one.shape[1] < CROP_SIZE for one in crops)
            joined = torch.cat([_half(one) if small else one for one in crops])
            labelled = joined, torch.cat(theta)
        if self.photos is not None:
            drawn = zip(*(self.photos[number] for number in numbers), strict=True)
            photos = PhotoBatch(*(torch.cat(tensors) for tensors in drawn))
        return TrainingBatch(labelled, photos)


def corpus_of(
    model: MorphableModel, options: Options, device: torch.device, processes: Processes | None = None
) -> TrainingCorpus:
    """Return what the options say to train on: this process's share of it.

    Raises:
        InputError: If the options leave nothing to train on, or name a file that isn't there, or if the
            processes can't share a batch evenly.
    """
    parts = options.batch_parts
    sizes = (options.batch_size, options.photo_batch, options.taught_batch)
    if parts < 1 or any(size % parts for size in sizes):
        raise InputError(
            f"--batch-parts {parts} must divide --batch-size {options.batch_size}, --photo-batch "
            f"{options.photo_batch} and --taught-batch {options.taught_batch}."
        )
    own = (processes or Processes()).own_parts(parts)
    # From here on a batch is a part, and there are so many times more of them.
    options = replace(
        options,
        batch_size=options.batch_size // parts,
        photo_batch=options.photo_batch // parts,
        taught_batch=options.taught_batch // parts,
        iterations=options.iterations * parts,
    )
    photos = None
    if options.photo_batch:
        if not options.photos:
            raise InputError("--photo-batch needs --photos: a store made by `python -m training.prepare`.")
        photos = PhotoCorpus(Path(options.photos), options.photo_batch, options.iterations, options.seed)
        photos.store  # noqa: B018  # a store that can't be read is to be refused now
    taught = _taught(options)
    if taught is not None and not options.batch_size:
        return TrainingCorpus(None, photos, parts, own, taught)
    if options.fits:
        if not options.photos:
            raise InputError("--fits needs --photos: the store whose photographs were fitted.")
        fitted = FittedCorpus(
            Path(options.photos), Path(options.fits), options.batch_size, options.iterations, options.seed
        )
        fitted.pairs  # noqa: B018  # likewise
        return TrainingCorpus(fitted, photos, parts, own, taught)
    if options.loss == "none":
        if photos is None:
            raise InputError("--loss none trains on photographs alone: give --photos and --photo-batch.")
        return TrainingCorpus(None, photos, parts, own)
    rendered = RenderedCorpus(
        model=model,
        distribution=DISTRIBUTIONS[options.distribution],
        augmentation=augmentation_named(options.augmentation),
        batch_size=options.batch_size,
        batches=options.iterations,
        seed=options.seed,
        device=device,
        drawn=load_parameters(Path(options.parameters)) if options.parameters else None,
        drawn_share=options.parameters_share,
        faces=options.corpus_faces,
    )
    return TrainingCorpus(rendered, photos, parts, own, taught)


def _taught(options: Options) -> TaughtCorpus | None:
    """Return a teacher's answers, if the options name some."""
    if not options.taught_batch:
        return None
    if not options.taught:
        raise InputError("--taught-batch needs --taught: a folder that `training.teacher_answers` wrote.")
    if options.architecture != "fast":
        raise InputError("A teacher's answers come with crops of half the size: give --architecture fast.")
    corpus = TaughtCorpus(Path(options.taught), options.taught_batch, options.iterations, options.seed)
    corpus.passes  # noqa: B018  # a folder without answers is to be refused now
    return corpus


def _half(crops: UInt8[Tensor, "faces side side2 3"]) -> UInt8[Tensor, "faces 120 120 3"]:
    """Bring crops to half their size; crops that are halved already stay."""
    return torch.from_numpy(halved(crops.numpy())) if crops.shape[1] == CROP_SIZE else crops


def load_parameters(path: Path) -> Float32[np.ndarray, "faces 350"]:
    """Read parameters to render.

    Raises:
        InputError: If the file holds none.
    """
    try:
        theta = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} holds no parameters: {error}.") from error
    if theta.ndim != 2 or theta.shape[1:] != (PARAMETER_COUNT,) or not len(theta):
        raise InputError(f"{path} must hold rows of {PARAMETER_COUNT} parameters, but has {theta.shape}.")
    if not np.isfinite(theta).all():
        raise InputError(f"{path} holds parameters that aren't finite: draw them again.")
    return np.asarray(theta, np.float32)


def batches(corpus: TrainingCorpus, run: Run, device: torch.device, start: int) -> Iterator[TrainingBatch]:
    """Yield the batches from `start` on: made on the GPU itself, or by worker processes."""
    order = range(start, len(corpus))
    if device.type == "cuda" and isinstance(corpus.labelled, RenderedCorpus):
        # Photographs are read by processes; faces are rendered on the device, in the order of both.
        rendered = device_batches(corpus.labelled, corpus.parts, corpus.own, start, run.workers)
        if corpus.photos is None:
            yield from (TrainingBatch(batch, None) for batch in rendered)
            return
        read = _loader(replace(corpus, labelled=None), run, order, pinned=True)
        for batch, photos in zip(rendered, read, strict=True):
            yield TrainingBatch(batch, photos.photos)
        return
    yield from _loader(corpus, run, order, pinned=device.type == "cuda")


def _loader(
    corpus: TrainingCorpus, run: Run, order: range, pinned: bool = False
) -> DataLoader[TrainingBatch]:
    return DataLoader(
        corpus,
        batch_size=None,
        sampler=order,
        num_workers=run.workers,
        # From pinned memory the copy to the GPU runs beside its work.
        pin_memory=pinned,
        prefetch_factor=4 if run.workers else None,
        worker_init_fn=_one_thread,
    )


def _one_thread(_worker: int) -> None:
    # The processes are the parallelism; threads within them would only get in each other's way.
    torch.set_num_threads(1)

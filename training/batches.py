"""What one step of training sees: rendered or fitted faces with their parameters, photographs, or both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from inversefacenet.errors import InputError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import PARAMETER_COUNT
from inversefacenet.sampling import DISTRIBUTIONS
from training.corpus import Batch, RenderedCorpus, augmentation_named
from training.fitted_corpus import FittedCorpus
from training.options import Options, Run
from training.photo_corpus import PhotoBatch, PhotoCorpus


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

    Attributes:
        labelled: Rendered or fitted faces.
        photos: Photographs.
    """

    labelled: RenderedCorpus | FittedCorpus | None
    photos: PhotoCorpus | None

    def __len__(self) -> int:
        return max(len(corpus) for corpus in (self.labelled, self.photos) if corpus is not None)

    def __getitem__(self, index: int) -> TrainingBatch:
        return TrainingBatch(
            None if self.labelled is None else self.labelled[index],
            None if self.photos is None else self.photos[index],
        )


def corpus_of(model: MorphableModel, options: Options, device: torch.device) -> TrainingCorpus:
    """Return what the options say to train on.

    Raises:
        InputError: If the options leave nothing to train on, or name a file that isn't there.
    """
    photos = None
    if options.photo_batch:
        if not options.photos:
            raise InputError("--photo-batch needs --photos: a store made by `python -m training.prepare`.")
        photos = PhotoCorpus(Path(options.photos), options.photo_batch, options.iterations, options.seed)
        photos.store  # noqa: B018  # a store that can't be read is to be refused now
    if options.fits:
        if not options.photos:
            raise InputError("--fits needs --photos: the store whose photographs were fitted.")
        fitted = FittedCorpus(
            Path(options.photos), Path(options.fits), options.batch_size, options.iterations, options.seed
        )
        fitted.pairs  # noqa: B018  # likewise
        return TrainingCorpus(fitted, photos)
    if options.loss == "none":
        if photos is None:
            raise InputError("--loss none trains on photographs alone: give --photos and --photo-batch.")
        return TrainingCorpus(None, photos)
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
    return TrainingCorpus(rendered, photos)


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
    if device.type == "cuda" and corpus.photos is None:
        yield from (corpus[index] for index in order)
        return
    if device.type == "cuda":
        # Photographs are read by processes; faces are rendered on the device, in the order of both.
        read = _loader(TrainingCorpus(None, corpus.photos), run, order)
        for index, batch in zip(order, read, strict=True):
            labelled = None if corpus.labelled is None else corpus.labelled[index]
            yield TrainingBatch(labelled, batch.photos)
        return
    yield from _loader(corpus, run, order)


def _loader(corpus: TrainingCorpus, run: Run, order: range) -> DataLoader[TrainingBatch]:
    return DataLoader(
        corpus,
        batch_size=None,
        sampler=order,
        num_workers=run.workers,
        prefetch_factor=4 if run.workers else None,
        worker_init_fn=_one_thread,
    )


def _one_thread(_worker: int) -> None:
    # The processes are the parallelism; threads within them would only get in each other's way.
    torch.set_num_threads(1)

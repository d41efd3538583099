"""Parameters in, masked and augmented crops out: the corpus on a CPU, one face after the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.camera import CROP_SIZE
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import ILLUMINATION
from training.augmentation_options import CorpusAugmentation
from training.compiled_corpus.backgrounds import fill_background
from training.compiled_corpus.blurring import blur, blur_kernel
from training.compiled_corpus.draws import Degradations, PictureDraws, draw_landmark_noise, draw_pictures
from training.compiled_corpus.encoding import encode, finish
from training.compiled_corpus.faces import FACES_AT_ONCE, FaceBatches, Room, face_mask
from training.compiled_corpus.jpeg import jpeg
from training.compiled_corpus.noise import add_noise
from training.compiled_corpus.occluding import occlude
from training.compiled_corpus.resampling import enlarging, resize_turned, shrinking

Step = Callable[[str], AbstractContextManager[object]]
"""Called with a step's name, gives a context to run it in: for those who measure."""

_EYES: Final = (slice(36, 42), slice(42, 48))


def _no_step(_name: str) -> AbstractContextManager[object]:
    return nullcontext()


class CompiledRenderer:
    """Renders faces as a detector would cut them out of photos; threads may share one."""

    def __init__(self, model: MorphableModel, size: int = CROP_SIZE) -> None:
        """Take a face model.

        Args:
            model: The face model.
            size: Side of the crops in pixels.
        """
        self._faces = FaceBatches(model)
        self._size = size

    def render(
        self,
        theta: Float32[np.ndarray, "faces 350"],
        augmentation: CorpusAugmentation | None,
        seed: int,
        step: Step = _no_step,
    ) -> tuple[UInt8[np.ndarray, "faces size size 3"], Float32[np.ndarray, "faces 350"]]:
        """Render faces.

        Args:
            theta: Their parameters.
            augmentation: What happens to the pictures, if anything.
            seed: The same seed gives the same pictures.
            step: For those who measure.

        Returns:
            Masked 8-bit sRGB crops, and the parameters that describe them: gains change the light.
        """
        count = len(theta)
        room = self._faces.room(self._size)
        crops = np.empty((count, self._size, self._size, 3), np.uint8)
        noise: Float32[np.ndarray, "faces 68 2"] | None = None
        draws: PictureDraws | None = None
        changed = theta
        if augmentation is not None:
            with step("draws"):
                rng = np.random.default_rng(seed)
                noise = draw_landmark_noise(rng, count, augmentation.landmark_noise)
                draws = draw_pictures(rng, count, self._size, augmentation.pictures)
            changed = theta.copy()
            light = changed[:, ILLUMINATION].reshape(count, 9, 3) * draws.gains[:, None]
            changed[:, ILLUMINATION] = light.reshape(count, -1)
        background = augmentation is not None and augmentation.pictures.background
        for first in range(0, count, FACES_AT_ONCE):
            part = slice(first, min(first + FACES_AT_ONCE, count))
            with step("geometry"):
                geometry, reflectance = self._faces.offsets(theta[part])
                own_noise = None if noise is None else noise[part]
                landmarks, placements = self._faces.place(theta[part], geometry, own_noise, self._size)
                eyes = np.stack([landmarks[:, eye].mean(axis=1) for eye in _EYES], axis=1)
                eyes /= np.float32(self._size)
            for face in range(part.start, part.stop):
                own = face - first
                with step("render"):
                    self._faces.draw(
                        changed[face],
                        geometry[own],
                        reflectance[own],
                        placements[own],
                        room,
                    )
                with step("mask"):
                    mask = face_mask(landmarks[own], self._size)
                picture = room.picture
                if draws is None:
                    with step("tone"):
                        encode(picture, np.float32(1))
                else:
                    picture = _augment(room, draws, face, eyes[own], background, step)
                with step("final"):
                    finish(picture, mask, crops[face])
        return crops, changed


def _augment(
    room: Room,
    draws: PictureDraws,
    face: int,
    eyes: Float32[np.ndarray, "2 2"],
    background: bool,
    step: Step,
) -> Float32[np.ndarray, "3 size size"]:
    """Apply everything to the picture that was drawn."""
    picture = room.picture
    if background:
        with step("background"):
            fill_background(picture, room.nearest, draws.background[face], draws.background_normal[face])
    with step("occluders"):
        for layer in range(draws.first[face], draws.first[face + 1]):
            occlude(picture, draws.kinds[layer], eyes, draws.uniform[layer], draws.normal[layer])
    with step("tone"):
        encode(picture, draws.exponent[face])
    return degrade(picture, draws.degradations, face, step)


def degrade(
    picture: Float32[np.ndarray, "3 size size"], draws: Degradations, face: int, step: Step = _no_step
) -> Float32[np.ndarray, "3 size size"]:
    """Degrade a picture as a camera, an upload and a detector's crop would, in that order.

    Args:
        picture: sRGB planes in [0, 1]; may be changed.
        draws: What happens.
        face: Which entry of it.
        step: For those who measure.
    """
    size, side = picture.shape[1], int(draws.side[face])
    small = picture
    if side < size:
        with step("resolution"):
            half = np.empty((3, size, side), np.float32)
            small = np.empty((3, side, side), np.float32)
            resize_turned(picture, *shrinking(size, side), half)
            resize_turned(half, *shrinking(size, side), small)
    sigma, length = draws.sigma[face], draws.length[face]
    if sigma or length:
        with step("blur"):
            blur(small, blur_kernel(sigma, length, draws.angle[face]))
    if draws.read[face] or draws.shot[face]:
        with step("noise"):
            add_noise(small, draws.read[face], draws.shot[face], draws.seed[face])
    if draws.quality[face]:
        with step("jpeg"):
            jpeg(small, draws.quality[face], draws.subsample[face])
    if side < size:
        with step("resolution"):
            half = np.empty((3, side, size), np.float32)
            resize_turned(small, *enlarging(side, size), half)
            resize_turned(half, *enlarging(side, size), picture)
    return picture

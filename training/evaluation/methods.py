"""What is compared: networks by name, their mirror averages, and the two baselines."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from inversefacenet.backends import InferenceBackend
from inversefacenet.crop import FaceCrop
from inversefacenet.errors import InputError
from inversefacenet.mirroring import FaceMirror, MirrorAveraging
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.networks import REFERENCE
from inversefacenet.parameters import Parameters
from training.baselines import mean_face, posed_mean_face

Method = Callable[[FaceCrop], Parameters]

NETWORK: Final = "network"
"""What the one network is called if it came without a name."""

MIRRORED: Final = " + mirror"
"""Stands behind the name of a network whose answers are averaged over mirrored crops."""

MEAN_FACE: Final = "mean face, best constant light"
POSED_MEAN_FACE: Final = "same, pose fitted to landmarks"

_NAME: Final = re.compile(r"[\w.+-]+")


def network_files(texts: Sequence[str]) -> dict[str, Path]:
    """Read ``NAME=FILE`` or ``FILE``; no text at all is the reference.

    Returns:
        Files by name, in the order given; "fast" and "reference" stand for themselves.

    Raises:
        InputError: If two have one name, or a name holds more than letters, digits and ``_ . + -``.
    """
    if not texts:
        return {NETWORK: Path(REFERENCE)}
    files: dict[str, Path] = {}
    for text in texts:
        name, sign, file = text.partition("=")
        if not sign:
            name, file = (NETWORK if len(texts) == 1 else Path(text).stem), text
        if not _NAME.fullmatch(name):
            raise InputError(f"'{name}' is no name of a network: use letters, digits and _ . + - alone.")
        if name in files:
            raise InputError(f"Two networks are called '{name}': name each, as in --network NAME=FILE.")
        files[name] = Path(file)
    return files


def network_method(backend: InferenceBackend) -> Method:
    """Return a network as a method: one crop in, one face out."""

    def method(crop: FaceCrop) -> Parameters:
        return Parameters.from_vector(backend.infer(crop.image[None])[0])

    return method


def choose_methods(
    model: MorphableModel,
    networks: Mapping[str, InferenceBackend],
    *,
    baselines: bool,
    mirror: bool = False,
) -> dict[str, Method]:
    """Return what is compared, by the names that the tables give them.

    Args:
        model: The face model.
        networks: The networks by name.
        baselines: Whether the mean face is measured too, in the best light, and posed besides.
        mirror: Whether each network is measured a second time, averaged over mirrored crops.
    """
    methods: dict[str, Method] = {}
    reflection = FaceMirror.of(model) if mirror else None
    for name, backend in networks.items():
        methods[name] = network_method(backend)
        if reflection is not None:
            methods[name + MIRRORED] = network_method(MirrorAveraging(backend, reflection))
    if baselines:
        methods[MEAN_FACE] = lambda crop: mean_face(model, crop)
        methods[POSED_MEAN_FACE] = lambda crop: posed_mean_face(model, crop)
    return methods

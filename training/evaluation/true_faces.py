"""Rendered people whose every vertex is known: identities x expressions x views, as Table 2's 180 meshes.

FaceWarehouse, which the paper uses, may not be passed on. Ours are drawn from the face model itself, so
they say how well a method finds what the model can express, not how well the model expresses people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32

from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import EXPRESSION, REFLECTANCE, SHAPE, Parameters
from inversefacenet.sampling import DISTRIBUTIONS

SEED: Final = 20180619
VIEWS: Final = "natural"
"""Where poses and light come from."""


@dataclass(frozen=True)
class TrueFaces:
    """Faces by identity, then expression, then view.

    Attributes:
        theta: Their parameters.
        names: ``identity/expression-view``: the folder is the person.
    """

    theta: Float32[np.ndarray, "faces 350"]
    names: list[str]


def true_faces(
    model: MorphableModel, identities: int = 9, expressions: int = 20, views: int = 1, seed: int = SEED
) -> TrueFaces:
    """Draw the set.

    Each identity has shape and reflectance N(0, 1) of its own and shows the same expressions, the first of
    which is at rest; pose and light are drawn anew for each picture.
    """
    rng = np.random.default_rng(seed)
    count = identities * expressions * views
    theta = DISTRIBUTIONS[VIEWS].sample(rng, count, model)
    people = rng.normal(0, 1, (identities, 256)).astype(np.float32)
    shown = DISTRIBUTIONS["paper"].sample(rng, expressions, model)[:, EXPRESSION]
    shown[0] = Parameters.neutral().expression
    names = []
    for index in range(count):
        person, rest = divmod(index, expressions * views)
        expression, view = divmod(rest, views)
        theta[index, SHAPE], theta[index, REFLECTANCE] = np.split(people[person], 2)
        theta[index, EXPRESSION] = shown[expression]
        names.append(f"{person + 1}/{expression + 1}-{view + 1}")
    return TrueFaces(theta, names)

"""Random facial expressions as weights of rig units.

Convention:
    A unit's weight is 0 at rest and 1 at its full action; weights are never negative. Units are named
    after the 51 face units ("jawOpen", "mouthSmileLeft", ...) and, with the prefix "mh:", after
    MakeHuman's expression units ("mh:eyebrows-left-up", ...). The sampler goes by name alone: it
    leaves units out that a model lacks, and draws units that it doesn't know independently.

An expression is a mood (at rest, smile, laugh, talk, surprise, anger, sorrow, kiss) plus a few single
units, blinks and a common gaze; then what a face can't do at once is put right. The mouth needs it
most: freely added units push the lips through each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float, Float32

Column = Float[np.ndarray, " count"]
Weights = dict[str, Column]

SIDES: Final = ("Left", "Right")

MOOD_SHARE: Final[Mapping[str, float]] = {
    "rest": 0.28,
    "smile": 0.20,
    "laugh": 0.10,
    "talk": 0.16,
    "surprise": 0.05,
    "anger": 0.05,
    "sorrow": 0.05,
    "kiss": 0.03,
}
"""Share of each mood; the remaining faces have single units only."""

SINGLE_SHARE: Final = 0.06
"""Chance of each single unit (or symmetric pair) on top of the mood."""

REST_SHARE: Final = 0.015
"""The same chance for faces at rest."""

ASYMMETRY_SHARE: Final = 0.2
"""Chance that the two sides of a pair are drawn independently."""

MOUTH_LIMIT: Final = 1.6
"""Largest sum of the mouth's units before they are scaled back."""

OPPOSITES: Final = (
    ("mouthLeft", "mouthRight"),
    ("jawLeft", "jawRight"),
    ("mouthSmileLeft", "mouthFrownLeft"),
    ("mouthSmileRight", "mouthFrownRight"),
    ("mouthSmileLeft", "mouthPucker"),
    ("mouthSmileRight", "mouthPucker"),
    ("mouthSmileLeft", "mouthFunnel"),
    ("mouthSmileRight", "mouthFunnel"),
    ("mouthPucker", "mouthFunnel"),
    ("mouthPucker", "mouthStretchLeft"),
    ("mouthPucker", "mouthStretchRight"),
    ("browDownLeft", "browOuterUpLeft"),
    ("browDownRight", "browOuterUpRight"),
    ("eyeBlinkLeft", "eyeSquintLeft"),
    ("eyeBlinkRight", "eyeSquintRight"),
    ("eyeBlinkLeft", "mh:eye-left-closure"),
    ("eyeBlinkRight", "mh:eye-right-closure"),
    ("eyeBlinkLeft", "mh:eye-left-slit"),
    ("eyeBlinkRight", "mh:eye-right-slit"),
    ("jawOpen", "mh:mouth-open"),
    ("jawOpen", "cheekPuff"),
    ("jawOpen", "mouthPressLeft"),
    ("jawOpen", "mouthPressRight"),
    ("jawOpen", "mh:mouth-compression"),
    ("jawOpen", "mh:mouth-pursing"),
    ("mh:mouth-open", "mh:mouth-compression"),
    ("mh:eyebrows-left-down", "mh:eyebrows-left-up"),
    ("mh:eyebrows-right-down", "mh:eyebrows-right-up"),
    ("mh:mouth-depression", "mh:mouth-elevation"),
    ("mh:mouth-protusion", "mh:mouth-retraction"),
)
"""Pairs whose weights together are at most 1; the second gives way."""


def sample_units(
    rng: np.random.Generator, count: int, unit_names: Sequence[str], amplitude: float = 1.0
) -> Float32[np.ndarray, "count units"]:
    """Draw plausible expressions.

    Args:
        rng: Source of randomness: the same state gives the same expressions.
        count: Number of expressions.
        unit_names: The rig's units, in the order of the answer's columns.
        amplitude: Factor on all weights. Lids still close no further than shut.

    Returns:
        Non-negative unit weights.
    """
    mood = rng.choice(len(MOOD_SHARE) + 1, size=count, p=[*MOOD_SHARE.values(), _single_only()])
    weights = _single_units(rng, mood, unit_names)
    for number, name in enumerate(MOOD_SHARE):
        acting = np.where(mood == number, 1.0, 0.0)
        for unit, value in _MOODS[name](rng, count).items():
            if unit in weights:
                weights[unit] = np.maximum(weights[unit], acting * value)
    _blink(rng, weights)
    for name in weights:
        weights[name] = weights[name] * amplitude
    _look(rng, weights, amplitude)
    _put_right(rng, weights)
    table = np.stack([weights[name] for name in unit_names], axis=1) if unit_names else np.zeros((count, 0))
    return table.astype(np.float32)


def _single_only() -> float:
    return 1.0 - sum(MOOD_SHARE.values())


def _strength(rng: np.random.Generator, count: int, low: float = 0.0, high: float = 0.75) -> Column:
    return low + (high - low) * rng.beta(1.2, 1.6, count)


def _both(name: str, rng: np.random.Generator, value: Column) -> Weights:
    """Give both sides of a face nearly the same weight."""
    return {name + side: np.clip(value * rng.normal(1, 0.12, len(value)), 0, 1) for side in SIDES}


def _rest(rng: np.random.Generator, count: int) -> Weights:
    parted = (rng.random(count) < 0.25) * rng.uniform(0, 0.06, count)
    return {"jawOpen": parted}


def _smile(rng: np.random.Generator, count: int) -> Weights:
    smile = rng.uniform(0.25, 1.0, count)
    toothy = (rng.random(count) < 0.6) * smile
    return {
        **_both("mouthSmile", rng, smile),
        **_both("cheekSquint", rng, smile * rng.uniform(0.2, 0.8, count)),
        **_both("eyeSquint", rng, smile * rng.uniform(0, 0.5, count)),
        **_both("mouthDimple", rng, smile * rng.uniform(0, 0.3, count)),
        **_both("mouthUpperUp", rng, toothy * rng.uniform(0.1, 0.35, count)),
        **_both("mouthLowerDown", rng, toothy * rng.uniform(0, 0.35, count)),
        "jawOpen": toothy * rng.uniform(0, 0.15, count),
    }


def _laugh(rng: np.random.Generator, count: int) -> Weights:
    smile = rng.uniform(0.6, 1.0, count)
    return {
        **_both("mouthSmile", rng, smile),
        **_both("cheekSquint", rng, smile * rng.uniform(0.5, 1.0, count)),
        **_both("eyeSquint", rng, smile * rng.uniform(0.2, 0.8, count)),
        **_both("mouthUpperUp", rng, rng.uniform(0.1, 0.4, count)),
        **_both("mouthLowerDown", rng, rng.uniform(0, 0.4, count)),
        "jawOpen": rng.uniform(0.12, 0.5, count),
        "browInnerUp": (rng.random(count) < 0.3) * rng.uniform(0, 0.5, count),
    }


def _talk(rng: np.random.Generator, count: int) -> Weights:
    rounded = rng.random(count) < 0.3
    return {
        "jawOpen": 0.7 * rng.beta(1.3, 3.0, count),
        "mouthFunnel": rounded * rng.uniform(0.1, 0.7, count),
        "mouthPucker": (rng.random(count) < 0.15) * rng.uniform(0.1, 0.6, count),
        **_both("mouthLowerDown", rng, ~rounded * rng.uniform(0, 0.4, count)),
        **_both("mouthUpperUp", rng, ~rounded * rng.uniform(0, 0.25, count)),
        **_both("mouthStretch", rng, ~rounded * (rng.random(count) < 0.3) * rng.uniform(0, 0.4, count)),
    }


def _surprise(rng: np.random.Generator, count: int) -> Weights:
    strength = rng.uniform(0.3, 1.0, count)
    return {
        "browInnerUp": strength,
        **_both("browOuterUp", rng, strength),
        **_both("eyeWide", rng, strength * rng.uniform(0.3, 1.0, count)),
        "jawOpen": strength * rng.uniform(0, 0.6, count),
    }


def _anger(rng: np.random.Generator, count: int) -> Weights:
    strength = rng.uniform(0.3, 1.0, count)
    return {
        **_both("browDown", rng, strength),
        **_both("eyeSquint", rng, strength * rng.uniform(0, 0.5, count)),
        **_both("noseSneer", rng, strength * rng.uniform(0, 0.7, count)),
        **_both("mouthPress", rng, strength * (rng.random(count) < 0.5) * rng.uniform(0, 0.8, count)),
        **_both("mouthFrown", rng, strength * rng.uniform(0, 0.5, count)),
    }


def _sorrow(rng: np.random.Generator, count: int) -> Weights:
    strength = rng.uniform(0.3, 1.0, count)
    return {
        "browInnerUp": strength * rng.uniform(0.4, 1.0, count),
        **_both("mouthFrown", rng, strength),
        "mouthShrugLower": strength * rng.uniform(0, 0.6, count),
        **_both("eyeSquint", rng, strength * rng.uniform(0, 0.4, count)),
    }


def _kiss(rng: np.random.Generator, count: int) -> Weights:
    return {"mouthPucker": rng.uniform(0.3, 1.0, count)}


_MOODS: Final[Mapping[str, Callable[[np.random.Generator, int], Weights]]] = {
    "rest": _rest,
    "smile": _smile,
    "laugh": _laugh,
    "talk": _talk,
    "surprise": _surprise,
    "anger": _anger,
    "sorrow": _sorrow,
    "kiss": _kiss,
}


def mirrored_name(name: str) -> str:
    """Return the name of a unit's counterpart on the other side, or the name itself."""
    if name in ("mouthLeft", "mouthRight", "jawLeft", "jawRight"):
        return name.replace("Left", "?").replace("Right", "Left").replace("?", "Right")
    swap = {"Left": "Right", "Right": "Left", "-left-": "-right-", "-right-": "-left-"}
    return re.sub(r"Left$|Right$|-left-|-right-", lambda match: swap[match.group()], name)


def _single_units(rng: np.random.Generator, mood: np.ndarray, unit_names: Sequence[str]) -> Weights:
    """Draw each unit rarely and by itself; the two sides of a pair mostly act together."""
    count = len(mood)
    share = np.where(mood == list(MOOD_SHARE).index("rest"), REST_SHARE, SINGLE_SHARE)
    weights: Weights = {}
    for name in unit_names:
        own = (rng.random(count) < share) * _strength(rng, count)
        partner = weights.get(mirrored_name(name))
        # To the side isn't a pair that acts together but two directions of one movement.
        if partner is not None and name not in ("mouthRight", "jawRight", "mouthLeft", "jawLeft"):
            apart = rng.random(count) < ASYMMETRY_SHARE
            own = np.where(apart, own, partner)
        weights[name] = own
    return weights


def _blink(rng: np.random.Generator, weights: Weights) -> None:
    """Close the lids: fully in one face of ten, partly in one of five, rarely one eye alone."""
    pair = [weights[name] for name in ("eyeBlinkLeft", "eyeBlinkRight") if name in weights]
    if len(pair) < 2:
        return
    count = len(pair[0])
    kind = rng.random(count)
    shut = rng.uniform(0.85, 1.0, count)
    drooping = rng.uniform(0.05, 0.5, count)
    lid = np.select([kind < 0.10, kind < 0.30], [shut, drooping], 0.0)
    wink = rng.random(count)
    weights["eyeBlinkLeft"] = np.where(wink < 0.01, shut, lid)
    weights["eyeBlinkRight"] = np.where((wink >= 0.01) & (wink < 0.02), shut, lid)


def _look(rng: np.random.Generator, weights: Weights, amplitude: float) -> None:
    """Turn both eyes the same way."""
    gaze = {"eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeLookDownLeft"}
    if not gaze <= weights.keys():
        return
    count = len(weights["eyeLookInLeft"])
    across = rng.normal(0, 0.35, count) * (rng.random(count) < 0.6) * amplitude
    upward = rng.normal(-0.05, 0.28, count) * (rng.random(count) < 0.6) * amplitude
    right, left = np.clip(across, 0, 1), np.clip(-across, 0, 1)
    up, down = np.clip(upward, 0, 1), np.clip(-upward, 0, 1)
    turned = {
        "eyeLookInLeft": right,
        "eyeLookOutRight": right,
        "eyeLookOutLeft": left,
        "eyeLookInRight": left,
        "eyeLookUpLeft": up,
        "eyeLookUpRight": up,
        "eyeLookDownLeft": down,
        "eyeLookDownRight": down,
    }
    weights.update({name: value for name, value in turned.items() if name in weights})


def _put_right(rng: np.random.Generator, weights: Weights) -> None:
    """Limit what a face can't do at once."""
    for side in SIDES:
        blink = f"eyeBlink{side}"
        if blink in weights:
            weights[blink] = np.minimum(weights[blink], 1.0)
            for wide in (f"eyeWide{side}", f"mh:eye-{side.lower()}-opened-up"):
                if wide in weights:
                    weights[wide] = weights[wide] * (weights[blink] == 0)
    for first, second in OPPOSITES:
        if first in weights and second in weights:
            weights[second] = np.minimum(weights[second], np.maximum(0, 1 - weights[first]))
    if "mouthClose" in weights and "jawOpen" in weights:
        # Closing the lips over an open jaw is rare, and closing them further than that is impossible.
        chosen = rng.random(len(weights["jawOpen"])) < 0.3
        weights["mouthClose"] = np.minimum(weights["mouthClose"], weights["jawOpen"]) * chosen
    mouth = [name for name in weights if "mouth" in name]
    if mouth:
        # A mood's smile counts once for its two sides.
        total = np.sum(
            [weights[name] * (0.5 if mirrored_name(name) != name else 1) for name in mouth], axis=0
        )
        scale = np.minimum(1, MOUTH_LIMIT / np.maximum(total, 1e-9))
        for name in mouth:
            weights[name] = weights[name] * scale
        if "mouthClose" in weights and "jawOpen" in weights:
            weights["mouthClose"] = np.minimum(weights["mouthClose"], weights["jawOpen"])

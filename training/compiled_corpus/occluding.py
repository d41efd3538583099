"""Things in front of the face, compiled: the layers of `training.occluders`, from the same random numbers.

Convention:
    A layer takes its uniform and normal numbers in the order in which the torch version draws them, so that
    the tests can give both the same. A row of a layer is an opacity and a colour for each pixel; rows that
    a layer leaves as they are cost its opacity alone.
"""

from __future__ import annotations

from typing import Any, Final, no_type_check

import numpy as np

from inversefacenet.compilation import compiled, compiled_inline
from training.compiled_corpus.arithmetic import HALF, ONE, ZERO, exp, exp2, log2, sigmoid, sin
from training.compiled_corpus.fields import dull_colour, field_row

UNIFORM: Final = 64
NORMAL: Final = 384
"""Uniform and normal numbers that a layer takes, at most."""

_PI: Final = np.float32(np.pi)
_TWO_PI: Final = np.float32(2 * np.pi)
_TINY: Final = np.float32(1e-5)
_FAR: Final = np.float32(1e30)
_ROOT: Final = np.float32(1e-20)
_SKIN: Final = np.array([0.50, 0.27, 0.18], np.float32)
_WAVES: Final = np.array([[3.0, 0.03], [11.0, 0.015], [31.0, 0.008]], np.float32)
_RIM_SOFTNESS: Final = np.float32(1 / 0.03)
_HAIR_SOFTNESS: Final = np.float32(1 / 0.003)
_HAND_SOFTNESS: Final = np.float32(1 / 0.004)
_HUNDREDTH: Final = np.float32(0.01)
_REACH: Final = np.float32(1.3)
_STREAKS: Final = np.float32(0.25)
_HAIR_WAVES: Final = np.float32(0.3)
_SKIN_TEXTURE: Final = np.float32(0.06)
_FINGER_SHADE: Final = np.float32(0.55)


@compiled_inline
@no_type_check
def _between(number: Any, low: Any, high: Any) -> Any:
    """Return a uniform number of [low, high) from one of [0, 1)."""
    return np.float32(number * np.float32(high - low) + np.float32(low))


@compiled
@no_type_check
def _centres(size: Any) -> Any:
    """Return pixel centres as fractions of the side."""
    centres = np.empty(size, np.float32)
    for i in range(size):
        centres[i] = (np.float32(i) + HALF) / np.float32(size)
    return centres


@compiled
@no_type_check
def _visible(opacity: Any) -> Any:
    """Tell whether a row of a layer changes anything."""
    most = ZERO
    for x in range(opacity.shape[0]):
        most = max(most, opacity[x])
    return most > _TINY


@compiled
@no_type_check
def _lay(picture: Any, row: Any, opacity: Any, colours: Any) -> None:
    """Lay a row over the picture."""
    for channel in range(3):
        line, colour = picture[channel, row], colours[channel]
        for x in range(opacity.shape[0]):
            line[x] += opacity[x] * (colour[x] - line[x])


@compiled
@no_type_check
def occlude(picture: Any, kind: Any, eyes: Any, uniform: Any, normal: Any) -> None:
    """Lay one occluder over a picture.

    Args:
        picture: Planes of linear red, green and blue; changed.
        kind: Which: the number of its field in `OccluderOptions`.
        eyes: Centres of the two eyes as fractions of the side.
        uniform: `UNIFORM` numbers of [0, 1).
        normal: `NORMAL` numbers of N(0, 1).
    """
    if kind == 0:
        _object(picture, uniform, normal)
    elif kind == 1:
        _spectacles(picture, eyes, uniform, normal)
    elif kind == 2:
        _strands(picture, uniform, normal)
    elif kind == 3:
        _fringe(picture, uniform, normal)
    elif kind == 4:
        _hand(picture, uniform, normal)
    elif kind == 5:
        _shadow(picture, uniform)
    else:
        _highlight(picture, uniform)


@compiled
@no_type_check
def _object(picture: Any, u: Any, n: Any) -> None:
    """An ellipse or a polygon of three to six sides."""
    size = picture.shape[1]
    centres = _centres(size)
    angle = _between(u[2], 0.0, _PI)
    c, s = np.cos(angle), np.sin(angle)
    width, height = ONE / _between(u[3], 0.06, 0.25), ONE / _between(u[4], 0.05, 0.15)
    sides = int(np.floor(_between(u[5], 3.0, 7.0)))
    round_shape = u[12] < HALF
    softness = ONE / _between(u[13], 0.02, 0.15)
    contrast = _between(u[14], 0.1, 0.6)
    base = np.empty(3, np.float32)
    dull_colour(u, 15, base)
    edges = np.empty((6, 3), np.float32)
    for side in range(sides):
        turn = np.float32(2 * np.pi * side / sides + 0.3 * n[side])
        edges[side, 0], edges[side, 1] = np.cos(turn), np.sin(turn)
        edges[side, 2] = _between(u[6 + side], 0.6, 1.0)
    across, along = np.empty(size, np.float32), np.empty(size, np.float32)
    opacity, texture = np.empty(size, np.float32), np.empty(size, np.float32)
    colours = np.empty((3, size), np.float32)
    for row in range(size):
        dy = centres[row] - u[1]
        for x in range(size):
            dx = centres[x] - u[0]
            across[x] = (dx * c + dy * s) * width
            along[x] = (dy * c - dx * s) * height
        if round_shape:
            for x in range(size):
                opacity[x] = np.sqrt(across[x] * across[x] + along[x] * along[x]) - ONE
        else:
            for x in range(size):
                opacity[x] = -_FAR
            for side in range(sides):
                ex, ey, reach = edges[side, 0], edges[side, 1], edges[side, 2]
                for x in range(size):
                    opacity[x] = max(opacity[x], across[x] * ex + along[x] * ey - reach)
        for x in range(size):
            opacity[x] = sigmoid(-opacity[x] * softness)
        if not _visible(opacity):
            continue
        field_row(n, 6, 10, row, texture)
        for x in range(size):
            shade = exp(contrast * texture[x])
            colours[0, x], colours[1, x], colours[2, x] = base[0] * shade, base[1] * shade, base[2] * shade
        _lay(picture, row, opacity, colours)


@compiled
@no_type_check
def _spectacles(picture: Any, eyes: Any, u: Any, n: Any) -> None:
    """Two lenses, a bridge and temples, on the line through the eyes."""
    size = picture.shape[1]
    centres = _centres(size)
    ex, ey = eyes[1, 0] - eyes[0, 0], eyes[1, 1] - eyes[0, 1]
    span = max(np.float32(np.sqrt(ex * ex + ey * ey)), np.float32(0.05))
    c, s = ex / span, ey / span
    width = ONE / (span * _between(u[0], 0.34, 0.46))
    height = ONE / (span * _between(u[1], 0.22, 0.36))
    power = _between(u[2], 2.0, 6.0)
    root = ONE / power
    bar_half = span * _between(u[3], 0.02, 0.06)
    rim_half = _between(u[4], 0.02, 0.18)
    tint = _between(u[6], 0.85, 1.0) if u[5] < HALF else _between(u[7], 0.0, 0.25)
    strength = _between(u[8], 0.6, 1.0)
    grey = _between(u[12], 0.0, 0.04)
    gloss = _between(u[13], 0.0, 0.08)
    below = np.float32(0.05) * span
    reach = _REACH * span
    mx, my = (eyes[0, 0] + eyes[1, 0]) * HALF, (eyes[0, 1] + eyes[1, 1]) * HALF
    opacity, texture = np.empty(size, np.float32), np.empty(size, np.float32)
    lenses = np.empty(size, np.float32)
    colours = np.empty((3, size), np.float32)
    for row in range(size):
        for x in range(size):
            lenses[x] = _FAR
        for eye in range(2):
            left, dy = eyes[eye, 0], centres[row] - eyes[eye, 1] - below
            for x in range(size):
                dx = centres[x] - left
                a = max(abs((dx * c + dy * s) * width), _ROOT)
                b = max(abs((dy * c - dx * s) * height), _ROOT)
                total = exp2(log2(a) * power) + exp2(log2(b) * power)
                lenses[x] = min(lenses[x], exp2(log2(total) * root) - ONE)
        dy = centres[row] - my
        for x in range(size):
            dx = centres[x] - mx
            along, away = dx * c + dy * s, dy * c - dx * s
            lens = lenses[x]
            bar = (abs(away) - bar_half) * height
            bar = max(max(bar, -(lens + _HUNDREDTH)), (abs(along) - reach) * height)
            glass = sigmoid(-lens * _RIM_SOFTNESS) * tint
            frame = max(sigmoid((rim_half - abs(lens)) * _RIM_SOFTNESS), sigmoid(-bar * _RIM_SOFTNESS))
            opacity[x] = max(glass, frame * strength)
        if not _visible(opacity):
            continue
        field_row(n, 0, 4, row, texture)
        for channel in range(3):
            shade, colour = _between(u[9 + channel], 0.0, 0.05) + grey, colours[channel]
            for x in range(size):
                colour[x] = shade + max(texture[x], ZERO) * gloss
        _lay(picture, row, opacity, colours)


@compiled
@no_type_check
def _strands(picture: Any, u: Any, n: Any) -> None:
    """Up to eight bent locks of hair that hang in from above."""
    size = picture.shape[1]
    centres = _centres(size)
    root, lean = _between(u[0], -0.1, 1.1), _between(u[1], -0.6, 0.6)
    wanted, strength = _between(u[2], 2.0, 9.0), _between(u[43], 0.6, 1.0)
    opacity, colours = np.empty(size, np.float32), np.empty((3, size), np.float32)
    for row in range(size):
        y = centres[row]
        for x in range(size):
            opacity[x] = ZERO
        for lock in range(8):
            if not lock < wanted:
                continue
            at = 3 + 5 * lock
            start = root + _between(u[at], -0.15, 0.15)
            slope, bend = lean + _between(u[at + 1], -0.3, 0.3), _between(u[at + 2], -0.8, 0.8)
            middle = np.float32(start + slope * y + bend * y * y)
            steep = slope + np.float32(2) * bend * y
            flat = np.float32(1 / np.sqrt(1 + steep * steep))
            half = _between(u[at + 3], 0.002, 0.016) * max(ONE - y / _between(u[at + 4], 0.3, 1.1), ZERO)
            if not half > ZERO:
                continue
            for x in range(size):
                away = half - abs(centres[x] - middle) * flat
                opacity[x] = max(opacity[x], sigmoid(away * _HAIR_SOFTNESS))
        if not _visible(opacity):
            continue
        for x in range(size):
            opacity[x] *= strength
        _hair(u, 44, n, row, colours)
        _lay(picture, row, opacity, colours)


@compiled
@no_type_check
def _fringe(picture: Any, u: Any, n: Any) -> None:
    """Hair from the upper border, or from a side, as far as a ragged line."""
    size = picture.shape[1]
    centres = _centres(size)
    side = int(np.floor(_between(u[0], 0.0, 4.0)))
    level, tilt, pivot = _between(u[1], -0.02, 0.28), _between(u[2], -0.4, 0.4), _between(u[3], 0.2, 0.8)
    edge = np.empty(size, np.float32)
    for i in range(size):
        edge[i] = level + tilt * (centres[i] - pivot)
    for wave in range(3):
        phase = _between(u[4 + 3 * wave], 0.0, _TWO_PI)
        frequency = _TWO_PI * _WAVES[wave, 0] * _between(u[5 + 3 * wave], 0.7, 1.3)
        height = u[6 + 3 * wave] * np.float32(2) * _WAVES[wave, 1]
        for i in range(size):
            edge[i] += height * sin(frequency * centres[i] + phase)
    softness, strength = ONE / _between(u[13], 0.004, 0.02), _between(u[14], 0.8, 1.0)
    opacity, colours = np.empty(size, np.float32), np.empty((3, size), np.float32)
    for row in range(size):
        y, own = centres[row], edge[row]
        for x in range(size):
            if side < 2:
                away = edge[x] - y
            elif side < 3:
                away = own - centres[x]
            else:
                away = own - (ONE - centres[x])
            opacity[x] = sigmoid(away * softness) * strength
        if not _visible(opacity):
            continue
        _hair(u, 15, n, row, colours)
        _lay(picture, row, opacity, colours)


@compiled
@no_type_check
def _hand(picture: Any, u: Any, n: Any) -> None:
    """A palm beyond the border and fingers that reach in from it."""
    size = picture.shape[1]
    centres = _centres(size)
    around = _between(u[0], 0.0, _TWO_PI)
    palm_x, palm_y = HALF + np.float32(0.55) * np.cos(around), HALF + np.float32(0.55) * np.sin(around)
    inward = around + _PI + _between(u[1], -0.5, 0.5)
    thick, reach = _between(u[2], 0.028, 0.05), _between(u[3], 0.12, 0.4)
    fingers = np.empty((4, 5), np.float32)
    for finger in range(4):
        offset = np.float32((finger - 1.5) * 2.1) * thick
        turn = inward + np.float32(0.12 * (finger - 1.5)) + _between(u[4 + 2 * finger], -0.05, 0.05)
        fingers[finger, 0] = palm_x - offset * np.sin(inward)
        fingers[finger, 1] = palm_y + offset * np.cos(inward)
        fingers[finger, 2], fingers[finger, 3] = np.cos(turn), np.sin(turn)
        fingers[finger, 4] = reach * _between(u[5 + 2 * finger], 0.75, 1.0)
    tone = np.empty(3, np.float32)
    level = np.exp(_between(u[12], -1.5, 0.3))
    for channel in range(3):
        tone[channel] = _SKIN[channel] * level * np.exp(np.float32(0.08) * n[channel])
    palm, per_thick = np.float32(2.6) * thick, ONE / thick
    distance, shading = np.empty(size, np.float32), np.empty(size, np.float32)
    opacity, texture = np.empty(size, np.float32), np.empty(size, np.float32)
    colours = np.empty((3, size), np.float32)
    for row in range(size):
        dy = centres[row] - palm_y
        for x in range(size):
            dx = centres[x] - palm_x
            distance[x], shading[x] = np.sqrt(dx * dx + dy * dy) - palm, ZERO
        for finger in range(4):
            start, length = fingers[finger, 0], fingers[finger, 4]
            c, s, down = fingers[finger, 2], fingers[finger, 3], centres[row] - fingers[finger, 1]
            for x in range(size):
                dx = centres[x] - start
                along = min(max(dx * c + down * s, ZERO), length)
                ax, ay = dx - along * c, down - along * s
                away = np.sqrt(ax * ax + ay * ay)
                rounding = min(away * per_thick, ONE)
                nearer = away - thick < distance[x]
                shading[x] = rounding * rounding if nearer else shading[x]
                distance[x] = away - thick if nearer else distance[x]
        for x in range(size):
            opacity[x] = sigmoid(-distance[x] * _HAND_SOFTNESS)
        if not _visible(opacity):
            continue
        field_row(n, 3, 12, row, texture)
        for channel in range(3):
            base, colour = tone[channel], colours[channel]
            for x in range(size):
                colour[x] = base * (ONE + _SKIN_TEXTURE * texture[x]) * (ONE - _FINGER_SHADE * shading[x])
        _lay(picture, row, opacity, colours)


@compiled
@no_type_check
def _shadow(picture: Any, u: Any) -> None:
    """Darkening beyond a wavy line."""
    size = picture.shape[1]
    centres = _centres(size)
    angle, phase = _between(u[0], 0.0, _TWO_PI), _between(u[1], 0.0, _TWO_PI)
    c, s = np.cos(angle), np.sin(angle)
    where, height = _between(u[2], -0.35, 0.35), _between(u[3], 0.0, 0.1)
    frequency = _between(u[4], 3.0, 14.0)
    softness, strength = ONE / _between(u[5], 0.004, 0.06), _between(u[6], 0.2, 0.65)
    opacity = np.empty(size, np.float32)
    for row in range(size):
        dy = centres[row] - HALF
        for x in range(size):
            dx = centres[x] - HALF
            across, along = dx * c + dy * s, dy * c - dx * s
            line = where + height * sin(frequency * along + phase)
            opacity[x] = sigmoid((line - across) * softness) * strength
        for channel in range(3):
            own = picture[channel, row]
            for x in range(size):
                own[x] -= opacity[x] * own[x]


@compiled
@no_type_check
def _highlight(picture: Any, u: Any) -> None:
    """Up to three soft spots of gloss, as on damp or oily skin under a lamp."""
    size = picture.shape[1]
    centres = _centres(size)
    wanted, strength = _between(u[0], 1.0, 4.0), _between(u[19], 0.05, 0.35)
    opacity, colours = np.empty(size, np.float32), np.empty((3, size), np.float32)
    for channel in range(3):
        colours[channel, :] = ONE + _between(u[16 + channel], -0.15, 0.15)
    for row in range(size):
        for x in range(size):
            opacity[x] = ZERO
        for spot in range(3):
            if not spot < wanted:
                continue
            at = 1 + 5 * spot
            left, dy = _between(u[at], 0.2, 0.8), centres[row] - _between(u[at + 1], 0.0, 0.9)
            angle = _between(u[at + 2], 0.0, _PI)
            c, s = np.cos(angle), np.sin(angle)
            width = ONE / _between(u[at + 3], 0.02, 0.12)
            height = ONE / _between(u[at + 4], 0.02, 0.06)
            for x in range(size):
                dx = centres[x] - left
                a, b = (dx * c + dy * s) * width, (dy * c - dx * s) * height
                opacity[x] += exp(-a * a - b * b)
        if not _visible(opacity):
            continue
        for x in range(size):
            opacity[x] = min(opacity[x], ONE) * strength
        _lay(picture, row, opacity, colours)


@compiled
@no_type_check
def _hair(u: Any, at: Any, n: Any, row: Any, colours: Any) -> None:
    """A hair colour between black, brown, red, fair and grey, streaked downwards."""
    size = colours.shape[1]
    level = np.exp(np.float32(-3.6) * u[at]) * np.float32(0.45)
    redness = u[at + 1]
    waves = np.empty(size, np.float32)
    field_row(n, size, 6, row, waves)
    for x in range(size):
        waves[x] = level * exp(_STREAKS * n[x] + _HAIR_WAVES * waves[x])
    green, blue = ONE - HALF * redness, ONE - np.float32(0.75) * redness
    for x in range(size):
        colours[0, x], colours[1, x], colours[2, x] = waves[x], waves[x] * green, waves[x] * blue

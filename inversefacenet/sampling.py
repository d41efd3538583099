"""Random faces: the distributions that parameters are drawn from (Kim et al. 2018, Section 5).

`PAPER` is Section 5 with the rig sampler for expressions, which fits our basis; `PAPER_BOX` keeps the
paper's own U(-12, 12) with its bias of 4.8 on the first coefficient, for bases that it fits. `NATURAL`
is the default for training: poses and light nearer to photographs, and coloured light.
`HIGHER_VARIATION` is the test set that is wider than the training corpus (Figure 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float32

from inversefacenet.illumination import sh_basis
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import (
    EXPRESSION,
    ILLUMINATION,
    PARAMETER_COUNT,
    REFLECTANCE,
    ROTATION,
    SHAPE,
)
from inversefacenet.rig import sample_units

# The cosine lobe's share in each band of spherical harmonics, relative to the constant one: what turns
# a distant light's radiance into irradiance coefficients (Ramamoorthi and Hanrahan 2001).
_COSINE_LOBE: Final = np.array([1.0] + [2 / 3] * 3 + [1 / 4] * 5)


@dataclass(frozen=True)
class Distribution:
    """How random parameters are drawn; the groups are independent (Eq. 5).

    Attributes:
        yaw: Half the range of yaw in degrees.
        pitch: Half the range of pitch in degrees.
        roll: Half the range of roll in degrees.
        frontal_share: Share of faces whose angles come from a normal distribution around frontal
            instead, with a standard deviation of 40% of the half range.
        shape_sd: Standard deviation of shape coefficients.
        reflectance_sd: Standard deviation of reflectance coefficients.
        truncation: Largest size of a shape or reflectance coefficient, in standard deviations.
        expression: "rig" draws non-negative rig units and projects them; "box" is the paper's own.
        expression_amplitude: Factor on the rig units, or half the box's range.
        expression_bias: Added to the first expression coefficient of the box.
        light: Half the range of the light's coefficients but the constant one.
        constant_light: Range of the constant coefficient.
        relative_light: Whether `light` is a fraction of the constant coefficient: dim light then has dim
            shadows, where absolute coefficients would make it negative, so black, over half the face.
        lamp_share: Share of faces lit by ambient light and one to three lamps instead.
        channel_gain_sd: Standard deviation of the log gains of red, green and blue.
        channel_gain_mean: Mean of the log gains. Photographs of faces are warmer than skin in white light.
    """

    yaw: float = 40.0
    pitch: float = 40.0
    roll: float = 15.0
    frontal_share: float = 0.0
    shape_sd: float = 1.0
    reflectance_sd: float = 1.0
    truncation: float = np.inf
    expression: Literal["rig", "box"] = "rig"
    expression_amplitude: float = 1.0
    expression_bias: float = 0.0
    light: float = 0.2
    constant_light: tuple[float, float] = (0.6, 1.2)
    relative_light: bool = False
    lamp_share: float = 0.0
    channel_gain_sd: float = 0.0
    channel_gain_mean: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def sample(
        self, rng: np.random.Generator, count: int, model: MorphableModel
    ) -> Float32[np.ndarray, "count 350"]:
        """Draw parameter vectors.

        Args:
            rng: Source of randomness: the same state gives the same faces.
            count: Number of faces.
            model: Its rig turns units into expression coefficients.
        """
        theta = np.zeros((count, PARAMETER_COUNT), np.float32)
        theta[:, ROTATION] = self._rotation(rng, count)
        theta[:, SHAPE] = self._normal(rng, count, 128, self.shape_sd)
        theta[:, EXPRESSION] = self._expression(rng, count, model)
        theta[:, REFLECTANCE] = self._normal(rng, count, 128, self.reflectance_sd)
        theta[:, ILLUMINATION] = self._light(rng, count).reshape(count, 27)
        return theta

    def _rotation(self, rng: np.random.Generator, count: int) -> Float32[np.ndarray, "count 3"]:
        limits = np.radians([self.yaw, self.pitch, self.roll])
        wide = rng.uniform(-limits, limits, (count, 3))
        frontal = np.clip(rng.normal(0, 0.4 * limits, (count, 3)), -limits, limits)
        chosen = rng.random((count, 1)) < self.frontal_share
        return np.where(chosen, frontal, wide).astype(np.float32)

    def _normal(
        self, rng: np.random.Generator, count: int, size: int, sd: float
    ) -> Float32[np.ndarray, "count size"]:
        draws = rng.normal(0, sd, (count, size))
        limit = self.truncation * sd
        outside = np.abs(draws) > limit
        while outside.any():
            draws[outside] = rng.normal(0, sd, int(outside.sum()))
            outside = np.abs(draws) > limit
        return draws.astype(np.float32)

    def _expression(
        self, rng: np.random.Generator, count: int, model: MorphableModel
    ) -> Float32[np.ndarray, "count 64"]:
        if self.expression == "rig":
            units = sample_units(rng, count, model.unit_names, self.expression_amplitude)
            return units @ model.unit_coefficients
        box = rng.uniform(-self.expression_amplitude, self.expression_amplitude, (count, 64))
        box[:, 0] += self.expression_bias
        return box.astype(np.float32)

    def _light(self, rng: np.random.Generator, count: int) -> Float32[np.ndarray, "count 9 3"]:
        grey = rng.uniform(-self.light, self.light, (count, 9))
        constant = rng.uniform(*self.constant_light, (count, 1))
        if self.relative_light:
            grey *= constant
        grey[:, :1] = constant
        light = np.repeat(grey[:, :, None], 3, axis=2)
        lit = rng.random(count) < self.lamp_share
        light[lit] = self._lamps(rng, int(lit.sum()))
        gains = np.exp(self.channel_gain_mean + rng.normal(0, 1, (count, 1, 3)) * self.channel_gain_sd)
        return (light * gains).astype(np.float32)

    def _lamps(self, rng: np.random.Generator, count: int) -> Float32[np.ndarray, "count 9 3"]:
        """Ambient light and up to three distant lamps: irradiance that is physically possible."""
        lamps = 3
        directions = rng.normal(0, 1, (count, lamps, 3))
        directions[..., 2] = np.abs(directions[..., 2]) + 0.3
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        strength = rng.gamma(0.5, 1.0, (count, lamps)) * rng.uniform(0.1, 1.0, (count, 1))
        tint = np.exp(rng.normal(0, 0.4 * self.channel_gain_sd, (count, lamps, 3)))
        harmonics = sh_basis(directions) * _COSINE_LOBE
        light = np.einsum("nl,nlb,nlc->nbc", strength, harmonics, tint)
        light[:, 0] += rng.uniform(0.5, 1.2, (count, 1))
        level = light[:, 0].mean(axis=1, keepdims=True)
        wanted = rng.uniform(*self.constant_light, (count, 1))
        return (light * (wanted / level)[..., None]).astype(np.float32)


PAPER: Final = Distribution()
PAPER_BOX: Final = Distribution(expression="box", expression_amplitude=12.0, expression_bias=4.8)
NATURAL: Final = Distribution(
    frontal_share=0.6,
    truncation=2.0,
    light=0.25,
    constant_light=(0.35, 1.5),
    relative_light=True,
    lamp_share=0.5,
    channel_gain_sd=0.15,
    channel_gain_mean=(0.12, 0.0, -0.12),
)
HIGHER_VARIATION: Final = Distribution(
    yaw=50.0,
    pitch=50.0,
    shape_sd=1.5,
    reflectance_sd=1.5,
    expression_amplitude=1.3,
    light=0.3,
    constant_light=(0.4, 1.4),
    channel_gain_sd=0.2,
)

DISTRIBUTIONS: Final[Mapping[str, Distribution]] = {
    "paper": PAPER,
    "paper-box": PAPER_BOX,
    "natural": NATURAL,
    "higher-variation": HIGHER_VARIATION,
}

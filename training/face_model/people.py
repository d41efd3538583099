"""Random people's skin, hair and eyes: reflectances as they might be measured.

Convention:
    Linear RGB reflectance in [0, 1], one row a vertex. `SkinPainter.sample` leaves the eyeballs 0 and
    `EyePainter.sample` all else: the two are drawn apart, so nothing about the skin says anything of
    the irises.

Luminance is drawn broadly: linear luminance, because the classes of the individual typology angle are
about equally wide in it and because a tone that is nearly normal in it stays so in a linear model. Dark
and brown skin (below 10 degrees) makes up 31% of the people, tan and intermediate skin 39%, light skin
30%. The ends are cut so that a coefficient of minus two standard deviations is still skin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32

from training.face_model.painting import Painting
from training.face_model.skin import LUMINANCE, melanin_of_luminance, skin_reflectance
from training.face_model.surface_field import SurfaceField

FIELD_FUNCTIONS: Final = 72
"""Functions that a random field needs: down to wavelengths of about 30 mm."""

_DARKEST, _LIGHTEST = 0.085, 0.580
_EVEN_CONTRAST: Final = 0.15
"""Luminance at which random fields have their full contrast; lighter skin gets less of it.

A linear model adds the same differences to all skin. Fields of one relative contrast would look right on
fair skin and blotched on dark skin; fields of one absolute contrast look right on both.
"""

_HAIR_DARK: Final = np.array([0.030, 0.024, 0.019])
_HAIR_BROWN: Final = np.array([0.095, 0.067, 0.045])
_HAIR_BLOND: Final = np.array([0.165, 0.122, 0.082])
_HAIR_GREY: Final = np.array([0.220, 0.215, 0.205])
_BEARD_WHITE: Final = np.array([0.42, 0.42, 0.41])
_STUBBLE: Final = np.array([0.44, 0.47, 0.50])
"""Stubble of unit luminance under the skin: shade without red, hence bluish beside skin."""

_LIP_BLOOD: Final = np.array([0.14, 0.48, 0.36])
_MOUTH: Final = np.array([0.045, 0.016, 0.014])
_LOWEST, _HIGHEST = 0.003, 0.95


@dataclass(frozen=True)
class SkinPainter:
    """Draws skin.

    Attributes:
        painting: The template's regions.
        grey: Functions of the achromatic field: soft shadows and shine.
        tint: Functions of the fields of pigment.
    """

    painting: Painting
    grey: Float[np.ndarray, "vertices functions"]
    tint: Float[np.ndarray, "vertices functions"]

    @classmethod
    def create(cls, painting: Painting, field: SurfaceField) -> SkinPainter:
        """Prepare the random fields."""
        count = field.functions.shape[1]
        return cls(painting, field.smooth(70.0, count), field.smooth(45.0, count))

    def sample(self, rng: np.random.Generator) -> Float32[np.ndarray, "vertices 3"]:
        """Draw a person's skin, with hair and the inside of the mouth."""
        p = self.painting
        tone = rng.beta(1.5, 2.4)
        luminance = _DARKEST + (_LIGHTEST - _DARKEST) * tone
        age = rng.random()
        male = rng.random() < 0.55
        contrast = float(np.clip(_EVEN_CONTRAST / luminance, 0.3, 1.2))
        reflectance = self._pigments(rng, luminance, age, contrast)
        reflectance = self._lips(rng, reflectance, tone, contrast)
        reflectance *= self._shade(rng, age, contrast)[:, None]
        hair = _hair_colour(rng, tone, age)
        reflectance = self._hair(rng, reflectance, hair, male, tone, age)
        reflectance = reflectance * _occlusion(p.visibility)[:, None]
        reflectance *= (1 - 0.55 * p.lip_line)[:, None]
        reflectance[p.mouth] = _MOUTH * np.exp(rng.normal(0, 0.1))
        reflectance[p.eye] = 0
        return np.clip(reflectance, _LOWEST, _HIGHEST).astype(np.float32) * ~p.eye[:, None]

    def _pigments(
        self, rng: np.random.Generator, luminance: float, age: float, contrast: float
    ) -> Float[np.ndarray, "vertices 3"]:
        """Draw melanin, blood and carotene over the face."""
        p = self.painting
        functions = self.tint.shape[1]
        melanin = float(melanin_of_luminance(np.array(luminance)))
        mottle = self.tint @ rng.normal(size=functions)
        flush = self.tint @ rng.normal(size=functions)
        vary = rng.normal(size=7) * contrast
        under_eye = np.maximum(p.under_eye, 0.8 * p.hollows)
        # In the darkest skin melanin has little left to take away, so its variation counts less.
        melanin_map = melanin + min(melanin, 1.2) * (
            (0.018 + 0.012 * age) * contrast * mottle
            + (0.06 + 0.06 * vary[0]) * p.under_eye
            + (0.04 + 0.05 * vary[1]) * p.hollows
        )
        blood = (
            0.045 * vary[2]
            + 0.03 * contrast * flush
            + (0.05 + 0.045 * vary[3]) * p.cheeks
            + (0.05 + 0.03 * vary[4]) * p.nose
            + (0.03 + 0.03 * vary[5]) * under_eye
        )
        yellow = 0.05 * vary[6] - 0.05 * contrast * (age - 0.5)
        return skin_reflectance(melanin_map, blood, np.full(len(melanin_map), yellow))

    def _lips(
        self,
        rng: np.random.Generator,
        skin: Float[np.ndarray, "vertices 3"],
        tone: float,
        contrast: float,
    ) -> Float[np.ndarray, "vertices 3"]:
        """Redden the lips; the blood shows less through dark skin, which turns them browner."""
        p = self.painting
        amount = np.clip(0.75 + 0.18 * contrast * rng.normal(), 0.3, 1.2)
        blood = _LIP_BLOOD * (0.55 + 0.45 * min(1.0, tone / 0.45))
        grey = np.array([0.12, 0.10, 0.06]) * (1 - min(1.0, tone / 0.45))
        painted = np.exp(-amount * (blood + grey))
        lipstick = contrast * max(0.0, rng.normal(-0.15, 0.25))
        painted = painted * np.exp(-lipstick * np.array([0.15, 1.0, 0.75]))
        return skin * (1 - p.lips[:, None] * (1 - painted))

    def _shade(self, rng: np.random.Generator, age: float, contrast: float) -> Float[np.ndarray, " vertices"]:
        """Draw what darkens without colour: shadows, folds, make-up, shine."""
        p = self.painting
        field = self.grey @ rng.normal(size=self.grey.shape[1])
        # What the mean face has of each is fixed; contrast tempers the variation alone.
        vary = rng.normal(size=6) * contrast
        age = 0.5 + (age - 0.5) * contrast
        dark = (
            0.065 * contrast * field
            + (0.06 + 0.10 * vary[0]) * p.sockets
            + (0.08 + 0.06 * vary[1]) * p.hollows
            + (0.05 + 0.08 * age + 0.05 * vary[2]) * p.under_eye
            + (0.02 + 0.12 * age + 0.05 * vary[3]) * p.folds
            + 0.14 * max(0.0, vary[4]) * np.maximum(p.eyelids, 0.3 * p.hollows)
            - (0.05 + 0.05 * vary[5]) * p.shine
        )
        return np.exp(-dark)

    def _hair(
        self,
        rng: np.random.Generator,
        skin: Float[np.ndarray, "vertices 3"],
        hair: Float[np.ndarray, "3"],
        male: bool,
        tone: float,
        age: float,
    ) -> Float[np.ndarray, "vertices 3"]:
        """Grow brows, lashes and beard."""
        p = self.painting
        dense = np.clip(rng.normal(0.80 if male else 0.76, 0.045), 0.55, 0.95)
        rim = np.clip(rng.normal(0.45 if male else 0.25, 0.15), 0.0, 0.9)
        # Brows of light hair end where they would be lighter than the skin.
        skin = _cover(skin, dense * p.brow + rim * dense * p.brow_rim, np.minimum(hair, skin))
        skin = _cover(skin, np.clip(rng.normal(0.6, 0.12), 0.3, 0.9) * p.lashes, _HAIR_DARK)
        if not male:
            return skin
        luminance = skin[p.skin].mean(axis=0) @ LUMINANCE
        growth = rng.uniform(0.0, 0.30) if rng.random() < 0.6 else rng.uniform(0.2, 0.75)
        # Short hair shows as a shade of the skin, long hair in its own colour.
        long = np.clip(growth / 0.9, 0, 1)
        if age > 0.6:
            hair = hair + rng.beta(1, 1.3) * (_BEARD_WHITE * (0.4 + 0.6 * tone) - hair)
        beard = long * hair * rng.uniform(1.0, 1.4) + (1 - long) * _STUBBLE * luminance
        style = rng.random()
        moustache, goatee, jaw = rng.uniform([0.7, 0.6, 0.5], [1.1, 1.1, 1.0])
        if style < 0.3:
            jaw *= rng.random()
            goatee *= 1.0 if style > 0.15 else rng.random()
        where = growth * (moustache * p.moustache + goatee * p.goatee + jaw * p.jaw)
        return _cover(skin, np.clip(where, 0, 0.9), beard)


@dataclass(frozen=True)
class EyePainter:
    """Draws eyeballs: a neutral off-white sclera, an iris between dark brown and light blue-grey."""

    painting: Painting

    def sample(self, rng: np.random.Generator) -> Float32[np.ndarray, "vertices 3"]:
        """Draw a person's eyes; both are alike."""
        p = self.painting
        sclera = np.array([0.50, 0.475, 0.45]) * np.exp(rng.normal(0, 0.07))
        sclera = sclera * np.exp(rng.normal(0, 0.03) * np.array([0.0, 0.3, 1.0]))
        light = np.clip(rng.normal(0.27, 0.17), 0, 1)
        brown, blue = np.array([0.052, 0.033, 0.021]), np.array([0.120, 0.145, 0.165])
        iris = brown + light * (blue - brown)
        iris = iris + light * (1 - light) * rng.normal(0.3, 0.4) * np.array([0.10, 0.07, -0.03])
        iris = iris * np.exp(rng.normal(0, 0.12))
        colour = sclera + p.iris[:, None] * (iris - sclera)
        colour = colour * (1 - 0.45 * p.limbus[:, None]) * (1 - 0.88 * p.pupil[:, None])
        colour = colour * (0.5 + 0.5 * p.visibility)[:, None]
        return np.clip(colour, _LOWEST, _HIGHEST).astype(np.float32) * p.eye[:, None]


def _occlusion(visibility: Float[np.ndarray, " vertices"]) -> Float[np.ndarray, " vertices"]:
    """Return the mild darkening of hollows: only nostrils and creases lose more than a quarter."""
    return np.interp(visibility, [0, 0.15, 0.5, 0.85, 1], [0.22, 0.40, 0.78, 0.95, 1.0])


def _cover(
    skin: Float[np.ndarray, "vertices 3"],
    coverage: Float[np.ndarray, " vertices"],
    colour: Float[np.ndarray, "#vertices 3"] | Float[np.ndarray, "3"],
) -> Float[np.ndarray, "vertices 3"]:
    return skin + coverage[:, None] * (colour - skin)


def _hair_colour(rng: np.random.Generator, tone: float, age: float) -> Float[np.ndarray, "3"]:
    """Draw the colour of brows and beard: light hair comes with light skin, grey with age."""
    light = rng.beta(1.0, 2.2) * np.clip((tone - 0.35) / 0.4, 0, 1)
    hair = np.array(
        [
            np.interp(light, [0, 0.45, 1], colours)
            for colours in zip(_HAIR_DARK, _HAIR_BROWN, _HAIR_BLOND, strict=True)
        ]
    )
    grey = rng.beta(1, 2.5) if age > 0.75 else 0.0
    return hair + grey * (_HAIR_GREY * (0.3 + 0.7 * tone) - hair)

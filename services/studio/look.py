"""What the sliders say, read and turned into the library's edits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from inversefacenet.editing import Edit, Identity, Relight, apply_edits, parse_edits
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters

SMALLEST_PREVIEW: Final = 128
LARGEST_PREVIEW: Final = 1024
MOST_STEPS: Final = 30
"""Most steps of the optimiser that can be asked for."""

# What a spec may hold of shape and light (`inversefacenet.editing.spec`).
_LARGEST_SHIFT: Final = 6.0
_LARGEST_LIGHT: Final = 20.0
_UNCHANGED: Final = 1e-3


class Look(BaseModel):
    """How the face is to look.

    Attributes:
        edits: Edits in their plain form (`inversefacenet.editing`); "from" may name "second".
        brightness: Factor on the light that these edits lead to.
        character: Factor on how far the head's shape lies from the mean: 0 the mean, 1 as it is,
            2 a caricature.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    edits: list[dict[str, Any]] = Field(default_factory=list, max_length=64)
    brightness: Annotated[float, Field(ge=0.1, le=4, allow_inf_nan=False)] = 1.0
    character: Annotated[float, Field(ge=0, le=2.5, allow_inf_nan=False)] = 1.0

    def resolve(
        self, model: MorphableModel, parameters: Parameters, others: Mapping[str, Parameters]
    ) -> tuple[tuple[Edit, ...], Parameters]:
        """Return the edits, brightness and character among them, and the face that they lead to.

        Raises:
            EditError: If an edit is none.
        """
        edits = parse_edits(self.edits, model, others)
        if abs(self.character - 1) > _UNCHANGED:
            edits = (_caricature(parameters, self.character - 1), *edits)
        edited = apply_edits(model, parameters, edits)
        if abs(self.brightness - 1) > _UNCHANGED:
            brighter = _brighter(edited, self.brightness)
            edits, edited = (*edits, brighter), brighter.apply(model, edited)
        return edits, edited


class PictureRequest(BaseModel):
    """What picture is wanted.

    Attributes:
        look: How the face is to look.
        size: Side in pixels.
        view: "photo" for the edited photo, "model" for the face model laid over it.
        number: Counts a page's requests: one that still waits when a later one comes is dropped.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    look: Look = Field(default_factory=Look)
    size: int = Field(default=512, ge=SMALLEST_PREVIEW, le=LARGEST_PREVIEW)
    view: Literal["photo", "model"] = "photo"
    number: int = Field(default=0, ge=0, le=2**53)


class LookRequest(BaseModel):
    """A look alone, where nothing else is asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    look: Look = Field(default_factory=Look)
    number: int = Field(default=0, ge=0, le=2**53)


class FaceRequest(BaseModel):
    """Which face of the photo, and how it is fitted.

    Attributes:
        face: Its number, from 0.
        refine: Most steps of the optimiser; 0 for the network's own answer. By default the studio's setting.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    face: int = Field(default=0, ge=0, le=1000)
    refine: int | None = Field(default=None, ge=0, le=MOST_STEPS)


def _caricature(parameters: Parameters, share: float) -> Identity:
    shifts = np.clip(share * parameters.shape, -_LARGEST_SHIFT, _LARGEST_SHIFT)
    return Identity(tuple((index, round(float(shift), 4)) for index, shift in enumerate(shifts)))


def _brighter(parameters: Parameters, factor: float) -> Relight:
    rows = np.clip(factor * parameters.illumination.astype(np.float64), -_LARGEST_LIGHT, _LARGEST_LIGHT)
    return Relight(tuple((float(red), float(green), float(blue)) for red, green, blue in rows))

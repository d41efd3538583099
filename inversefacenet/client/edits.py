"""What a caller wants to be changed in a photo, checked before anything is sent, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, Unpack, get_args

import numpy as np
from jaxtyping import Float

from inversefacenet.client.requests import (
    FaceChoice,
    Landmarks,
    Photo,
    PhotoJob,
    photo_job,
)
from inversefacenet.client.results import FaceQuality, File, Model
from inversefacenet.errors import EditError, InputError
from inversefacenet.parameters import Parameters

if TYPE_CHECKING:
    from inversefacenet.editing import Edit

PictureFormat = Literal["png", "jpeg"]
EditSpec = Mapping[str, Any]
"""An edit as plain data, such as ``{"edit": "relight", "light": "left"}``; see `inversefacenet.editing`."""

Other = Photo | Parameters | Float[np.ndarray, "350"]
"""A face that something is taken from: a photo, whose largest face counts, or parameters."""


class EditSettings(TypedDict, total=False):
    """What may be asked beside the edits; all of it may be left out.

    Attributes:
        faces: "largest" (default) or "all", which all get the same edits.
        minimum_size: Width in photo pixels of the smallest face to look for.
        landmarks: The 68 points of each face in photo pixels, if they are known: nothing is detected then.
        refine: Most steps, up to 30, in which each face is refined before it is edited.
        picture_format: "png" (default), or "jpeg".
    """

    faces: FaceChoice
    minimum_size: float | None
    landmarks: Landmarks | None
    refine: int | None
    picture_format: PictureFormat


@dataclass(frozen=True, eq=False)
class EditJob:
    """A photo to edit.

    Attributes:
        photo: The photo, and which of its faces.
        edits: What is to be changed.
        others: Faces that something is taken from, by name.
        picture_format: File format of the answer.
    """

    photo: PhotoJob
    edits: tuple[dict[str, Any], ...]
    others: Mapping[str, PhotoJob | Parameters] = field(default_factory=dict)
    picture_format: PictureFormat = "png"


@dataclass(frozen=True, eq=False)
class EditedFace:
    """One edited face.

    Attributes:
        box: Left, top, right, bottom in photo pixels; it may reach past the photo.
        score: The detector's confidence; None where it wasn't asked.
        parameters: The face as it was edited.
        reconstructed: The face as it was reconstructed.
        quality: How well the reconstruction explains the photo: an edit is only as good as that.
        quality_before: The same before the refinement, if one was asked for.
    """

    box: tuple[float, float, float, float]
    score: float | None
    parameters: Parameters
    reconstructed: Parameters
    quality: FaceQuality
    quality_before: FaceQuality | None = None


@dataclass(frozen=True, eq=False)
class EditResult:
    """The edited photo.

    Attributes:
        id: Names this answer.
        model: What reconstructed the faces.
        width: Of the upright photo, in pixels.
        height: Likewise.
        faces: Those that were edited, largest first; never empty.
        picture: The whole photo with the edited faces in it.
        truncated: There are more faces than the server's limit; the smallest were left as they are.
        timings_ms: The server's milliseconds by stage.
        request_id: Names the request in the server's log.
    """

    id: str
    model: Model
    width: int
    height: int
    faces: tuple[EditedFace, ...]
    picture: File
    truncated: bool = False
    timings_ms: dict[str, float] = field(default_factory=dict)
    request_id: str = ""


@dataclass(frozen=True)
class ExpressionUnit:
    """A unit of expression.

    Attributes:
        name: What edits call it.
        description: What it does, in words.
        minimum: Least useful weight.
        maximum: Full action.
    """

    name: str
    description: str
    minimum: float
    maximum: float


@dataclass(frozen=True)
class EditOptions:
    """What edits may name at a server.

    Attributes:
        lights: The named lights.
        units: The units of expression of its face model.
    """

    lights: tuple[str, ...]
    units: tuple[ExpressionUnit, ...]


_OPTIONS: Final = EditSettings.__optional_keys__


def edit_job(
    photo: Photo,
    edits: Iterable[EditSpec | Edit],
    others: Mapping[str, Other] | None,
    **settings: Unpack[EditSettings],
) -> EditJob:
    """Read a photo and check what is asked of it; what the edits say is for the server to check.

    Raises:
        ImageError: If a file can't be read.
        LandmarkError: If landmarks have a wrong shape.
        ParameterError: If parameters of another face have a wrong shape or aren't finite.
        EditError: If an edit is no object, or holds something that JSON doesn't have.
        InputError: If there is no such setting, if one has a value that there isn't, or if a photo is none.
    """
    unknown = [repr(name) for name in settings if name not in _OPTIONS]
    if unknown:
        raise InputError(f"There is no option {', '.join(unknown)}: there is {', '.join(sorted(_OPTIONS))}.")
    form = settings.pop("picture_format", "png")
    if form not in get_args(PictureFormat):
        raise InputError(f"picture_format can't be {form!r}: there is {', '.join(get_args(PictureFormat))}.")
    return EditJob(
        photo_job(photo, settings),  # type: ignore[arg-type]  # what is left are options of a photo
        tuple(_plain(number, edit) for number, edit in enumerate(edits)),
        {name: _other(other, settings.get("refine")) for name, other in (others or {}).items()},
        form,
    )


def _other(other: Other, refine: int | None) -> PhotoJob | Parameters:
    if isinstance(other, Parameters):
        return other
    if isinstance(other, np.ndarray):
        return Parameters.from_vector(other)
    return photo_job(other, {"refine": refine})


def _plain(number: int, edit: EditSpec | Edit) -> dict[str, Any]:
    if isinstance(edit, Mapping):
        try:
            plain: dict[str, Any] = json.loads(json.dumps(dict(edit)))
        except (TypeError, ValueError, RecursionError) as error:
            raise EditError(f"Edit {number} holds something that JSON doesn't have: {error}.") from error
        return plain
    from inversefacenet.editing import Edit, edits_to_data

    if not isinstance(edit, Edit):
        raise EditError(f"An edit is an object such as {{'edit': 'neutral'}}, not {type(edit).__name__}.")
    (data,) = edits_to_data((edit,))
    return data

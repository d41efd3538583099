"""Edits over HTTP: jobs as requests, answers read back. No connection is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from inversefacenet.client.edits import EditedFace, EditJob, EditOptions, EditResult, ExpressionUnit
from inversefacenet.client.errors import UnexpectedAnswerError
from inversefacenet.client.requests import PhotoJob
from inversefacenet.client.rest_answers import HttpAnswer, tree_of
from inversefacenet.client.rest_requests import (
    JSON,
    HttpRequest,
    accepted,
    one_photo,
    photo_options,
    post_json,
)
from inversefacenet.client.rest_results import box_of, file_of, model_of, quality_of, unreadable
from inversefacenet.errors import InverseFaceNetError
from inversefacenet.parameters import Parameters

EDITS: Final = "/v1/edits"
OPTIONS: Final = "/v1/edits/options"


def edit_request(job: EditJob) -> HttpRequest:
    """Return a photo and what is to be changed as a request."""
    tree: dict[str, Any] = {**_photo(job.photo), **photo_options(job.photo), "edits": list(job.edits)}
    if job.others:
        tree["others"] = {name: _other(other) for name, other in job.others.items()}
    tree["picture_format"] = job.picture_format
    return post_json(EDITS, tree, accepted())


def options_request() -> HttpRequest:
    """Return the question what edits may name."""
    return HttpRequest("GET", OPTIONS, {"Accept": JSON})


def read_edit(answer: HttpAnswer) -> EditResult:
    """Read an edited photo.

    Raises:
        RefusedError: If the request was refused, and may be sent again.
        InverseFaceNetError: If the answer is a problem, or can't be read.
    """
    tree = tree_of(answer)
    try:
        image, picture = tree["image"], file_of(tree["picture"])
        assert picture is not None, "its member is there"
        result = EditResult(
            id=str(tree["id"]),
            model=model_of(tree["model"]),
            width=int(image["width"]),
            height=int(image["height"]),
            faces=tuple(_face(face) for face in tree["faces"]),
            picture=picture,
            truncated=bool(tree.get("truncated", False)),
            timings_ms={str(name): float(value) for name, value in tree.get("timings_ms", {}).items()},
            request_id=answer.request_id,
        )
    except (AttributeError, KeyError, TypeError, ValueError, InverseFaceNetError) as error:
        raise unreadable(error) from error
    if not result.faces:
        raise UnexpectedAnswerError("The server's answer holds no face.")
    return result


def read_edit_options(answer: HttpAnswer) -> EditOptions:
    """Read what edits may name; see `read_edit`."""
    tree = tree_of(answer)
    try:
        return EditOptions(
            lights=tuple(str(name) for name in tree["lights"]),
            units=tuple(
                ExpressionUnit(
                    str(unit["name"]),
                    str(unit["description"]),
                    float(unit["minimum"]),
                    float(unit["maximum"]),
                )
                for unit in tree["units"]
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(error) from error


def _photo(job: PhotoJob) -> dict[str, Any]:
    # Crops are not edited: there is no photo around them.
    return {name: value for name, value in one_photo(job).items() if name != "crop"}


def _other(other: PhotoJob | Parameters) -> dict[str, Any]:
    if isinstance(other, Parameters):
        return {"parameters": other.to_dict()}
    return {"photo": one_photo(other)["photo"]}


def _face(tree: Mapping[str, Any]) -> EditedFace:
    score, before = tree.get("score"), tree.get("quality_before")
    return EditedFace(
        box=box_of(tree["box"]),
        score=None if score is None else float(score),
        parameters=Parameters.from_dict(tree["parameters"]),
        reconstructed=Parameters.from_dict(tree["reconstructed"]),
        quality=quality_of(tree["quality"]),
        quality_before=None if before is None else quality_of(before),
    )

"""The OpenAPI document: what FastAPI can't see of the interface, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from services.gateway.context import REQUEST_ID_HEADER
from services.gateway.edit_schemas import EditAnswer, EditBody
from services.gateway.examples import PROBLEM_EXAMPLE
from services.gateway.problems import problem_answer
from services.gateway.request_schemas import BatchBody, PhotoBody, RenderingBody
from services.gateway.schemas import Problem

BINARY: Final = {"type": "string", "format": "binary"}

_REFERENCE: Final = "#/components/schemas/{model}"
_SCHEMAS: Final[tuple[tuple[type[BaseModel], JsonSchemaMode], ...]] = (
    (Problem, "validation"),
    (PhotoBody, "validation"),
    (BatchBody, "validation"),
    (RenderingBody, "validation"),
    (EditBody, "validation"),
    (EditAnswer, "serialization"),
)
_PROBLEMS: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "What came can't be read: the photo's bytes, the form, or the parameters.",
        401: "The service asks for an API key, and none that it knows came.",
        403: "Photos are not fetched by URL here.",
        404: "There is nothing of that name.",
        406: "The answer can't be written in a form that `Accept` allows.",
        408: "The body did not arrive in time.",
        413: "Too many bytes, pixels or photos.",
        415: "The body is of no kind that is read here, or the image of no format that is.",
        422: "No face was found, or something in the request is not valid: `errors` names it.",
        429: "The key has used up its quota: try again after Retry-After seconds.",
        500: "A fault of the service; its log has the cause under the request id.",
        503: "Overloaded, stopping or not ready: try again after Retry-After seconds.",
        504: "The time ran out before the answer was made.",
    }
)
_HEADERS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        REQUEST_ID_HEADER: ("string", "The caller's id if it was sane, else a new one; the log has it too."),
        "Retry-After": ("integer", "Seconds after which it is worth trying again."),
        "WWW-Authenticate": ("string", "How to show a key."),
        "Vary": ("string", "The answer's form follows the header named here."),
        "X-Quality-Photometric": ("number", "The largest face's photometric error, in 8-bit sRGB steps."),
        "X-Quality-IoU": ("number", "Its overlap of face masks."),
        "X-Quality-NME": ("number", "Its landmarks' distance over that of the eyes; where they are known."),
        "X-Quality-Confidence": (
            "number",
            "Probability that it is usable; where its landmarks are known.",
        ),
    }
)
_STATUS_HEADERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"401": ("WWW-Authenticate",), "406": ("Vary",), "429": ("Retry-After",), "503": ("Retry-After",)}
)
_SECURITY: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
)


def reference(model: type[BaseModel]) -> dict[str, str]:
    """Return a reference to a schema of this document."""
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def form_schema(files: Mapping[str, Any], options: type[BaseModel]) -> dict[str, Any]:
    """Describe a form: files, and the same fields as in the query.

    Args:
        files: Schemas of the fields that hold files.
        options: The query's fields.
    """
    fields = options.model_json_schema(ref_template=_REFERENCE)["properties"]
    return {
        "type": "object",
        "required": list(files),
        "properties": {**files, **fields},
        "additionalProperties": False,
    }


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that an address can answer with."""
    return {
        status: problem_answer(_PROBLEMS[status], PROBLEM_EXAMPLE if status == 422 else None)
        for status in statuses
    }


def example_of(example: Mapping[str, Any], description: str = "Found.") -> dict[str, Any]:
    """Describe an answer by an example."""
    return {"description": description, "content": {"application/json": {"example": dict(example)}}}


def header_references(*names: str) -> dict[str, Any]:
    """Describe the headers of an answer."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def install_openapi(app: FastAPI) -> None:
    """Complete the document that FastAPI makes: shared schemas, headers of answers, ways to show a key."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(build(), keys_required=app.state.gateway.access.required)
        return build()

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any], *, keys_required: bool) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _, definitions = models_json_schema(_SCHEMAS, ref_template=_REFERENCE)
    schemas.update(definitions["$defs"])
    # Of these FastAPI thinks that it answers with them.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["headers"] = {
        name: {"description": description, "schema": {"type": kind}}
        for name, (kind, description) in _HEADERS.items()
    }
    components["securitySchemes"] = dict(_SECURITY)
    asked: list[dict[str, list[str]]] = [{name: []} for name in _SECURITY]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith("/v1/"):
                operation["security"] = asked if keys_required else [{}, *asked]
            _complete_answers(operation["responses"])


def _complete_answers(answers: dict[str, Any]) -> None:
    for status, answer in list(answers.items()):
        if "HTTPValidationError" in str(answer):
            del answers[status]
            continue
        names = (REQUEST_ID_HEADER, *_STATUS_HEADERS.get(status, ()))
        answer["headers"] = answer.get("headers", {}) | header_references(*names)

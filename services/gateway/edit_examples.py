"""Examples of editing in the OpenAPI document; tests send the requests, and check the answers."""

from __future__ import annotations

from typing import Any, Final

from services.gateway.example_photo import PHOTO_BASE64
from services.gateway.examples import ANSWER_EXAMPLE

EDIT_EXAMPLES: Final[dict[str, Any]] = {
    "relight": {
        "summary": "Light from the left, and a slight turn",
        "value": {
            "photo": {"base64": PHOTO_BASE64},
            "edits": [{"edit": "relight", "light": "left"}, {"edit": "pose", "yaw": 10}],
        },
    },
    "other": {
        "summary": "The expression of another face, whose parameters are known",
        "value": {
            "photo": {"base64": PHOTO_BASE64},
            "edits": [{"edit": "expression", "from": "friend", "strength": 0.5}],
            "others": {"friend": {"parameters": {"expression": [1.0] + [0.0] * 63}}},
            "refine": 2,
        },
    },
    "several": {
        "summary": "Something of everything",
        "value": {
            "photo": {"base64": PHOTO_BASE64},
            "edits": [
                {"edit": "relight", "direction": [1, 1, 1], "colour": [1, 0.9, 0.8], "ambient": 0.3},
                {"edit": "expression", "units": {"jawOpen": 0.4}},
                {"edit": "identity", "coefficients": {"0": 0.5}},
                {"edit": "skin", "tone": 0.5},
            ],
            "picture_format": "jpeg",
        },
    },
}

_FACE: Final[dict[str, Any]] = ANSWER_EXAMPLE["faces"][0]

EDIT_ANSWER_EXAMPLE: Final[dict[str, Any]] = {
    "id": "0d5b2c7e9f1a4e6c8b3d7a5f2e4c6b81",
    "model": ANSWER_EXAMPLE["model"],
    "image": ANSWER_EXAMPLE["image"],
    "faces": [
        {
            "box": _FACE["box"],
            "score": _FACE["score"],
            "parameters": _FACE["parameters"],
            "reconstructed": _FACE["parameters"],
            "quality": _FACE["quality"],
        }
    ],
    "picture": {"media_type": "image/png", "width": 512, "height": 512, "base64": "iVBORw0KGgo="},
    "truncated": False,
    "timings_ms": {"decode": 5.0, "detect": 20.0, "infer": 30.0, "render": 4.0, "edit": 60.0},
}

OPTIONS_EXAMPLE: Final[dict[str, Any]] = {
    "lights": ["front", "left"],
    "units": [{"name": "jawOpen", "description": "jaw open", "minimum": 0.0, "maximum": 1.0}],
}

"""Examples of the OpenAPI document; tests send the requests, and check the answers against the schemas."""

from __future__ import annotations

from typing import Any, Final

from services.gateway.example_photo import PHOTO_BASE64

MODEL_EXAMPLE: Final[dict[str, Any]] = {
    "name": "inversefacenet",
    "version": "1",
    "digest": "0" * 64,
    "backend": "onnxruntime",
    "face_model": {"name": "inversefacenet", "digest": "0" * 64},
}

ANSWER_EXAMPLE: Final[dict[str, Any]] = {
    "id": "5f0c1c1e8a0b4b5c9a4d2f6b7e3a1d90",
    "model": MODEL_EXAMPLE,
    "image": {"width": 512, "height": 512},
    "faces": [
        {
            "box": {"left": 155.0, "top": 70.0, "right": 290.0, "bottom": 205.0},
            "score": 1.5,
            "landmarks68": [[200.0, 100.0]] * 68,
            "parameters": {
                "rotation": [0.1, -0.05, 0.02],
                "shape": [0.0] * 128,
                "expression": [0.0] * 64,
                "reflectance": [0.0] * 128,
                "illumination": [[0.9, 0.9, 0.9]] + [[0.0, 0.0, 0.0]] * 8,
            },
            "placement": {
                "camera_distance": 700.0,
                "scale": 620.0,
                "offset": [222.0, 130.0],
                "crop_scale": 1.8,
                "crop_offset": [-280.0, -110.0],
            },
            "quality": {
                "photometric": 20.0,
                "photometric_visible": 18.0,
                "iou": 0.9,
                "iou_hull": 0.93,
                "landmark": 4.0,
                "nme": 0.03,
                "confidence": 0.97,
                "verdict": "good",
            },
        }
    ],
    "truncated": False,
    "timings_ms": {"decode": 5.0, "detect": 20.0, "infer": 30.0, "render": 4.0},
}

PROBLEM_EXAMPLE: Final[dict[str, Any]] = {
    "type": "urn:inversefacenet:problem:no-face",
    "title": "No face",
    "status": 422,
    "detail": "No face was found in the photo.",
    "code": "no-face",
    "request_id": "9d3b8c1f2e7a4c05b6d1e0f3a2b4c5d6",
}

BATCH_ANSWER_EXAMPLE: Final[dict[str, Any]] = {
    "results": [
        {"index": 0, "name": "first", "status": 200, "reconstruction": ANSWER_EXAMPLE},
        {"index": 1, "name": "second", "status": 422, "problem": PROBLEM_EXAMPLE},
    ]
}

_SENT: Final[dict[str, Any]] = {"photo": {"base64": PHOTO_BASE64}}
_BY_URL: Final[dict[str, Any]] = {"photo": {"url": "https://example.org/face.jpg"}}

PHOTO_EXAMPLES: Final[dict[str, Any]] = {
    "sent": {
        "summary": "A small photo, and its rendering",
        "value": {**_SENT, "return": ["rendering"], "size": 240},
    },
    "url": {"summary": "A photo by URL, where that is allowed", "value": {**_BY_URL, "faces": "all"}},
}

BATCH_EXAMPLES: Final[dict[str, Any]] = {
    "batch": {
        "summary": "Two photos",
        "value": {"photos": [{**_SENT, "name": "first"}, {**_BY_URL, "name": "second"}]},
    },
}

RENDERING_EXAMPLES: Final[dict[str, Any]] = {
    "groups": {
        "summary": "The mean face, turned and lit from above, on white",
        "value": {
            "parameters": {
                "rotation": [0.4, 0.1, 0.0],
                "illumination": [[0.8, 0.8, 0.8], [0.2, 0.2, 0.2]] + [[0.0, 0.0, 0.0]] * 7,
            },
            "size": 240,
            "background": [255, 255, 255],
        },
    },
    "vector": {
        "summary": "All 350 numbers; the geometry alone, cut out",
        "value": {
            "parameters": {"vector": [0.0] * 350},
            "geometry": True,
            "background": "transparent",
        },
    },
}

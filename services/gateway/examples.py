"""Examples of the OpenAPI document; a test checks them against the schemas."""

from __future__ import annotations

from typing import Any, Final

ANSWER_EXAMPLE: Final[dict[str, Any]] = {
    "id": "5f0c1c1e8a0b4b5c9a4d2f6b7e3a1d90",
    "model": {
        "name": "onnxruntime",
        "digest": "0" * 64,
        "face_model": {"name": "inversefacenet", "digest": "0" * 64},
    },
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
            },
        }
    ],
    "timings_ms": {"decode": 5.0, "reconstruct": 100.0, "encode": 1.0},
}

PROBLEM_EXAMPLE: Final[dict[str, Any]] = {
    "type": "urn:inversefacenet:problem:no-face",
    "title": "No face",
    "status": 422,
    "detail": "No face was found in the photo.",
    "code": "no-face",
    "request_id": "9d3b8c1f2e7a4c05b6d1e0f3a2b4c5d6",
}

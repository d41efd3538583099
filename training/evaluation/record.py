"""Figures kept beside the network that they are of: `evaluation.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np

from training.evaluation.result import Evaluation

EVALUATION_FILE: Final = "evaluation.json"


def record(evaluation: Evaluation, name: str, network: Path, digest: str) -> Path:
    """Write the figures into `evaluation.json` beside the network's file, under a name.

    Figures of other names stay, unless they are of another network.
    """
    path = network.with_name(EVALUATION_FILE)
    kept = json.loads(path.read_text()) if path.is_file() else {}
    if kept.get("sha256") != digest:
        kept = {"sha256": digest, "evaluations": {}}
    kept["evaluations"][name] = {
        "faces": len(evaluation.names),
        "failed": len(evaluation.failed),
        **{
            method: {
                figure: round(evaluation.mean(method, figure), 5)
                for figure in evaluation.figures()
                if np.isfinite(evaluation.mean(method, figure))
            }
            for method in evaluation.rows
        },
    }
    path.write_text(json.dumps(kept, indent=1) + "\n")
    return path

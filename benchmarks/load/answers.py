"""Reads the parameters out of an answer, whatever interface it came over."""

from __future__ import annotations

import json

import numpy as np
from jaxtyping import Float32

from benchmarks.load.requests import Interface
from inversefacenet.parameters import GROUPS, Parameters


def parameters_of(interface: Interface, content: bytes) -> Float32[np.ndarray, "350"]:
    """Return the parameters of the first face of a JSON answer or of a serialized message."""
    if interface == "rest":
        face = json.loads(content)["faces"][0]
        return Parameters.from_dict(face["parameters"]).vector()
    from inversefacenet.v1 import reconstruction_pb2

    message = reconstruction_pb2.ReconstructResponse.FromString(content).faces[0].parameters
    groups = [np.array(getattr(message, name), np.float32) for name in GROUPS]
    return np.concatenate(groups)

"""What Triton says of the model it serves: names, batch size, digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inversefacenet.backends.triton_errors import Cause, TritonError

CROP_SHAPE: Final = (240, 240, 3)
PARAMETER_COUNT: Final = 350
DIGEST_PARAMETER: Final = "onnx_sha256"


@dataclass(frozen=True)
class ServedModel:
    """A model as a server describes it.

    Attributes:
        name: The model's name.
        version: The version that answers if none is asked for.
        engine: Platform or backend that runs it, such as `tensorrt_plan` or `python`.
        input_name: Name of the crops.
        output_name: Name of the parameters.
        max_batch_size: Largest number of crops in a request.
        digests: SHA-256 of the ONNX file: by version, and under "" for versions that have none of their own.
    """

    name: str
    version: str
    engine: str
    input_name: str
    output_name: str
    max_batch_size: int
    digests: Mapping[str, str]

    def digest(self, version: str) -> str:
        """Return the digest of a version's network, or "" if the server doesn't know it."""
        return self.digests.get(version) or self.digests.get("", "")


def read_model(config: Any, versions: Sequence[str], version: str) -> ServedModel:
    """Read a model's configuration and check that it is our network.

    Args:
        config: A `ModelConfig` message.
        versions: Versions that are loaded.
        version: The version that is asked for; "" for the newest.

    Raises:
        TritonError: If the model takes or returns something else.
    """
    # Numbers of the enumeration inference.DataType: TYPE_UINT8 = 2, TYPE_FP32 = 11.
    inputs = [(i.data_type, tuple(i.dims)) for i in config.input]
    outputs = [(o.data_type, tuple(o.dims)) for o in config.output]
    if inputs != [(2, CROP_SHAPE)] or outputs != [(11, (PARAMETER_COUNT,))] or config.max_batch_size < 1:
        raise TritonError(
            f"Model {config.name} at Triton is not the network: it must take uint8 crops of [240, 240, 3] "
            "and return float parameters of [350], in batches. Serve this project's model_repository.",
            Cause.REFUSED,
        )
    digests = {
        key.removeprefix(DIGEST_PARAMETER).removeprefix("_"): value.string_value
        for key, value in config.parameters.items()
        if key == DIGEST_PARAMETER or key.startswith(f"{DIGEST_PARAMETER}_")
    }
    return ServedModel(
        name=config.name,
        version=version or max(versions, key=lambda number: int(number), default=""),
        engine=config.platform or config.backend,
        input_name=config.input[0].name,
        output_name=config.output[0].name,
        max_batch_size=config.max_batch_size,
        digests=digests,
    )

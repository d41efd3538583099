"""The network in Triton's Python backend: ONNX Runtime on the CPU, one run for a whole batch of requests.

Parameters of the configuration: `file` (in the version's folder; default model.onnx), `intra_op_threads`
(of one inference; default 0, ONNX Runtime's choice) and `onnx_sha256` or `onnx_sha256_VERSION`, which the
file must have: a server that loads says truly which network it runs.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

CROP_SHAPE = (240, 240, 3)
PARAMETER_COUNT = 350

Crops = npt.NDArray[np.uint8]
Answers = npt.NDArray[np.float32]


class TritonPythonModel:
    """What the Python backend starts once for each instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network.

        Args:
            args: What the backend says of the model: its configuration, folder and version.

        Raises:
            TritonModelException: If a parameter or the file is wrong; the model then doesn't load.
        """
        # ONNX Runtime's own builds otherwise report to their maker.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        version = args["model_version"]
        path = Path(args["model_repository"], version, parameters.get("file") or "model.onnx")
        threads = parameters.get("intra_op_threads") or "0"
        if not threads.isdecimal():
            raise pb_utils.TritonModelException(f"intra_op_threads must be 0 or more, but is {threads!r}.")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise pb_utils.TritonModelException(f"{path.name} can't be read: {error.strerror}.") from error
        promised = parameters.get(f"onnx_sha256_{version}") or parameters.get("onnx_sha256")
        found = hashlib.sha256(content).hexdigest()
        if promised and promised != found:
            raise pb_utils.TritonModelException(
                f"{path.name} of version {version} has the digest {found}, but the configuration names "
                f"{promised}: put the file's own into the parameter onnx_sha256_{version} or onnx_sha256."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(threads)
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        (source,), (target,) = self._session.get_inputs(), self._session.get_outputs()
        if source.type != "tensor(uint8)" or tuple(source.shape[1:]) != CROP_SHAPE:
            raise pb_utils.TritonModelException(
                f"{path.name} must take uint8 crops of shape [n, 240, 240, 3]."
            )
        if target.type != "tensor(float)" or tuple(target.shape[1:]) != (PARAMETER_COUNT,):
            raise pb_utils.TritonModelException(
                f"{path.name} must return float parameters of shape [n, 350]."
            )
        self._input, self._output = source.name, target.name

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch of requests, each with its own answer or error.

        Args:
            requests: Requests that the server put together.

        Returns:
            One response a request, in their order.
        """
        responses: list[Any] = [None] * len(requests)
        accepted: list[tuple[int, Crops]] = []
        for index, request in enumerate(requests):
            if request.is_cancelled():
                responses[index] = _refusal("Nobody waits for the answer.", pb_utils.TritonError.CANCELLED)
                continue
            crops = pb_utils.get_input_tensor_by_name(request, self._input).as_numpy()
            if crops.dtype != np.uint8 or crops.shape[1:] != CROP_SHAPE or not len(crops):
                responses[index] = _refusal(
                    f"The crops must be uint8 of shape [n, 240, 240, 3], not {crops.dtype} {crops.shape}.",
                    pb_utils.TritonError.INVALID_ARG,
                )
                continue
            accepted.append((index, crops))
        for index, answer in self._answers(accepted):
            responses[index] = answer
        return responses

    def _answers(self, accepted: list[tuple[int, Crops]]) -> list[tuple[int, Any]]:
        """Run all at once; where that fails, each alone, so that a bad one spoils only its own answer."""
        if not accepted:
            return []
        crops = [part for _, part in accepted]
        try:
            answers = self._run(crops[0] if len(crops) == 1 else np.concatenate(crops))
        except Exception as error:  # ONNX Runtime's errors share no base class but this one.
            if len(accepted) > 1:
                return [answer for single in accepted for answer in self._answers([single])]
            failure = _refusal(f"The network failed: {error}", pb_utils.TritonError.INTERNAL)
            return [(accepted[0][0], failure)]
        parts = np.split(answers, np.cumsum([len(part) for part in crops])[:-1])
        return [
            (
                index,
                pb_utils.InferenceResponse([pb_utils.Tensor(self._output, np.ascontiguousarray(part))]),
            )
            for (index, _), part in zip(accepted, parts, strict=True)
        ]

    def _run(self, crops: Crops) -> Answers:
        (answers,) = self._session.run([self._output], {self._input: crops})
        return np.asarray(answers, np.float32)


def _refusal(message: str, code: Any) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))

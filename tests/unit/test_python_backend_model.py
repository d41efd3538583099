"""The repository's model.py, without a server: Triton's module is replaced by a small one."""

import importlib.util
import json
import sys
from types import ModuleType

import numpy as np
import pytest

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.networks import reference_path

VERSION = reference_path().parent.name


class Tensor:
    def __init__(self, name, array):
        self.name, self.array = name, array

    def as_numpy(self):
        return self.array


class Response:
    def __init__(self, tensors=(), error=None):
        self.tensors, self.error = list(tensors), error


class TritonError:
    CANCELLED, INVALID_ARG, INTERNAL = "cancelled", "invalid", "internal"

    def __init__(self, message, code):
        self.message, self.code = message, code


class TritonModelError(Exception):
    pass


class Request:
    def __init__(self, crops, cancelled=False):
        self.crops, self.cancelled = crops, cancelled

    def is_cancelled(self):
        return self.cancelled


def input_tensor(request, name):
    assert name == "crops"
    return Tensor(name, request.crops)


@pytest.fixture(scope="module")
def folder(root):
    return root / "model_repository" / "inversefacenet"


@pytest.fixture(scope="module")
def module(folder):
    stand_in = ModuleType("triton_python_backend_utils")
    stand_in.Tensor, stand_in.InferenceResponse, stand_in.TritonError = Tensor, Response, TritonError
    stand_in.TritonModelException = TritonModelError
    stand_in.get_input_tensor_by_name = input_tensor
    sys.modules[stand_in.__name__] = stand_in
    spec = importlib.util.spec_from_file_location("repository_model", folder / VERSION / "model.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    yield loaded
    del sys.modules[stand_in.__name__]


@pytest.fixture(scope="module")
def embedded():
    return OnnxBackend("reference", threads=1)


def started(module, folder, version=VERSION, **parameters):
    model = module.TritonPythonModel()
    wanted = {"intra_op_threads": "1", **parameters}
    config = {"parameters": {key: {"string_value": value} for key, value in wanted.items()}}
    model.initialize(
        {"model_config": json.dumps(config), "model_repository": str(folder), "model_version": version}
    )
    return model


@pytest.fixture
def model(module, folder, embedded):
    return started(module, folder, onnx_sha256=embedded.digest)


@pytest.fixture
def crops(rng):
    return rng.integers(0, 256, (6, 240, 240, 3), dtype=np.uint8)


def test_requests_are_run_at_once_and_each_gets_its_own_answers(model, crops, embedded, monkeypatch):
    runs = []
    run = model._run
    monkeypatch.setattr(model, "_run", lambda batch: runs.append(len(batch)) or run(batch))
    responses = model.execute([Request(crops[:1]), Request(crops[1:4]), Request(crops[4:])])
    assert runs == [6]
    expected = embedded.infer(crops)
    for response, part in zip(responses, np.split(expected, [1, 4]), strict=True):
        (tensor,) = response.tensors
        assert (tensor.name, tensor.array.dtype) == ("parameters", np.float32)
        np.testing.assert_allclose(tensor.array, part, atol=1e-4)


def test_a_request_that_is_wrong_or_cancelled_fails_alone(model, crops):
    requests = [
        Request(crops[:1]),
        Request(crops[:1].astype(np.float32)),
        Request(crops[:1, :200]),
        Request(crops[:0]),
        Request(crops[:1], cancelled=True),
        Request(crops[1:2]),
    ]
    codes = [response.error and response.error.code for response in model.execute(requests)]
    assert codes == [None, "invalid", "invalid", "invalid", "cancelled", None]


def test_a_batch_of_nothing_but_refusals_runs_nothing(model, crops, monkeypatch):
    monkeypatch.setattr(model, "_run", None)
    (response,) = model.execute([Request(crops, cancelled=True)])
    assert response.error.code == "cancelled"


def test_what_breaks_the_run_spoils_only_its_own_answer(model, crops, monkeypatch):
    run = model._run

    def breaks(batch):
        if (batch == 255).all(axis=(1, 2, 3)).any():
            raise RuntimeError("no memory")
        return run(batch)

    monkeypatch.setattr(model, "_run", breaks)
    white = np.full((1, 240, 240, 3), 255, np.uint8)
    responses = model.execute([Request(crops[:2]), Request(white), Request(crops[2:])])
    assert [response.error is None for response in responses] == [True, False, True]
    assert "no memory" in responses[1].error.message
    assert len(responses[2].tensors[0].array) == 4


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"intra_op_threads": "-1"}, "intra_op_threads"),
        ({"intra_op_threads": "many"}, "intra_op_threads"),
        ({"file": "nowhere.onnx"}, "nowhere.onnx can't be read"),
        ({"onnx_sha256": "ab" * 32}, "digest"),
        ({f"onnx_sha256_{VERSION}": "ab" * 32}, f"onnx_sha256_{VERSION}"),
    ],
)
def test_wrong_parameters_keep_it_from_loading(module, folder, parameters, reason):
    with pytest.raises(TritonModelError, match=reason):
        started(module, folder, **parameters)


def test_a_version_may_have_a_digest_of_its_own(module, folder, embedded):
    started(module, folder, onnx_sha256="ab" * 32, **{f"onnx_sha256_{VERSION}": embedded.digest})
    started(module, folder, **{f"onnx_sha256_{int(VERSION) + 1}": "ab" * 32})

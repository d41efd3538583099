import os
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

from inversefacenet.errors import BackendError, MissingDependencyError
from inversefacenet.onnx_session import OnnxSession


def doubling(inputs=1):
    """Write a network that answers its input's double and its square."""
    names = ["x", "y"][:inputs]
    nodes = [
        helper.make_node("Add", [names[0], names[-1]], ["double"]),
        helper.make_node("Mul", [names[0], names[-1]], ["square"]),
    ]
    graph = helper.make_graph(
        nodes,
        "doubling",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in names],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("double", "square")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"trained on": "nothing"})
    return model.SerializeToString()


@pytest.mark.parametrize("threads", [0, 1, 2])
@pytest.mark.parametrize("spinning", [False, True])
def test_outputs_come_in_their_order(threads, spinning):
    session = OnnxSession(doubling(), threads, name="doubling", spinning=spinning)
    double, square = session.run(np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2])
    np.testing.assert_array_equal(double, [[0, 4, 8], [12, 16, 20]])
    np.testing.assert_array_equal(square, [[0, 4, 16], [36, 64, 100]])


def test_it_tells_what_the_network_takes_and_gives():
    session = OnnxSession(doubling(), name="doubling")
    assert (session.input_name, session.input_type, session.input_shape) == ("x", "tensor(float)", (None, 3))
    assert session.output_names == ("double", "square")
    assert session.output_shapes == ((None, 3), (None, 3))
    assert session.metadata == {"trained on": "nothing"}


def test_what_is_no_such_network_is_refused():
    with pytest.raises(BackendError, match=r"The network gone\.onnx can't be loaded"):
        OnnxSession(b"no network", name="gone.onnx")
    with pytest.raises(BackendError, match="must take one input, not 2"):
        OnnxSession(doubling(inputs=2), name="two")


def test_a_failing_run_is_a_backend_error():
    session = OnnxSession(doubling(), name="doubling")
    with pytest.raises(BackendError, match="The network failed"):
        session.run(np.zeros((1, 4), np.float32))


def test_without_onnx_runtime_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[onnx\]"):
        OnnxSession(doubling(), name="doubling")


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("0", "0")])
def test_onnx_runtime_reports_to_nobody_unless_it_was_told_to(given, expected):
    code = "import os; from inversefacenet.onnx_session import OnnxSession\n"
    code += "try: OnnxSession(b'', name='none')\nexcept Exception: pass\n"
    code += "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    if given is not None:
        # Imported from nowhere, so that nothing is reported by this test.
        code = "import sys; sys.modules['onnxruntime'] = None\n" + code
        environment["ORT_DISABLE_TELEMETRY"] = given
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert answer.stdout.strip() == expected

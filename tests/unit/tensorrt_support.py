"""What stands in for TensorRT: a small network of the same interface, an engine, a trtexec."""

import json
import stat
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy.triton.convert.errors import BuildError
from deploy.triton.convert.network import OnnxEngine
from deploy.triton.convert.plans import Machine
from inversefacenet.networks import reference_path

ROOT = Path(__file__).resolve().parents[2]
MODEL = reference_path()
CONFIG = ROOT / "model_repository" / "inversefacenet" / "config.pbtxt"
MACHINE = Machine("NVIDIA L4", "8.9", "101100-b33")


def small_network(seed=0, gain=1.0):
    """Return an ONNX file that is stored as the shipped one is: 16-bit convolutions, 8-bit matrices."""
    rng = np.random.default_rng(seed)
    values, nodes = [], []

    def constant(name, array):
        values.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    value = node("Cast", ["crops"], "wide", to=TensorProto.FLOAT)
    value = node("Mul", [value, constant("scale", np.float32(gain / 255))], "scaled")
    value = node("Sub", [value, constant("half", np.float32(0.5))], "centred")
    value = node("Transpose", [value], "chw", perm=[0, 3, 1, 2])
    kernel = constant("kernel", (rng.normal(size=(4, 3, 48, 48)) * 0.02).astype(np.float16))
    kernel = node("Cast", [kernel], "kernel_wide", to=TensorProto.FLOAT)
    bias = constant("bias", rng.normal(size=4).astype(np.float32))
    value = node("Conv", [value, kernel, bias], "features", kernel_shape=[48, 48], strides=[48, 48])
    value = node("Relu", [value], "active")
    value = node("Reshape", [value, constant("shape", np.array([-1, 100], np.int64))], "flat")
    stored = node(
        "Cast",
        [constant("stored", rng.integers(-127, 128, (100, 350)).astype(np.int8))],
        "stored_wide",
        to=TensorProto.FLOAT,
    )
    scales = constant("scales", rng.uniform(0.5e-3, 1e-3, 350).astype(np.float32))
    value = node("MatMul", [value, node("Mul", [stored, scales], "matrix")], "sums")
    value = node("Add", [value, constant("shift", rng.normal(size=350).astype(np.float32))], "answers")
    node("Identity", [value], "parameters")
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["faces", 240, 240, 3])],
        [helper.make_tensor_value_info("parameters", TensorProto.FLOAT, ["faces", 350])],
        values,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()


def changed_weights(content, change):
    """Return an ONNX file whose floating-point constants went through `change(name, array)`."""
    model = onnx.load_model_from_string(content)
    for value in model.graph.initializer:
        array = numpy_helper.to_array(value)
        if array.dtype.kind == "f":
            value.CopyFrom(numpy_helper.from_array(change(value.name, array).astype(array.dtype), value.name))
    return model.SerializeToString()


def noisy(content, share=0.01):
    """Multiply each weight by 1 plus noise."""
    rng = np.random.default_rng(1)
    return changed_weights(content, lambda _, a: a * (1 + share * rng.normal(size=a.shape)))


def channels_swapped(content):
    """Let the network take red for blue; several pixels may lie together as one of more channels."""

    def swapped(_name, kernel):
        if kernel.ndim != 4 or kernel.shape[1] not in (3, 12):
            return kernel
        outputs, channels, *sides = kernel.shape
        return kernel.reshape(outputs, channels // 3, 3, *sides)[:, :, ::-1].reshape(kernel.shape)

    return changed_weights(content, swapped)


def brighter(content):
    """Scale the input by 1% too much."""
    return changed_weights(content, lambda _, a: a * 1.01 if a.ndim == 0 and a < 0.1 else a)


class StandIn:
    """TensorRT in the process: a plan is the ONNX file itself, and may be spoilt on the way.

    Attributes:
        builds: The precisions of the plans that were built.
        sizes: The batch sizes that were run.
    """

    def __init__(self, machine=MACHINE, spoil=None, answer=None, refuse=()):
        self.at, self.spoil, self.answer, self.refuse = machine, spoil or {}, answer, refuse
        self.builds, self.sizes = [], []

    def machine(self):
        return self.at

    def build(self, onnx, plan, shapes, precision):
        self.builds.append(precision)
        if precision in self.refuse:
            raise BuildError("no tactic")
        plan.write_bytes(self.spoil.get(precision, lambda content: content)(onnx.read_bytes()))

    def run(self, plan, crops):
        self.sizes.append(len(crops))
        try:
            answers = OnnxEngine(plan.read_bytes()).infer(crops)
        except Exception as error:
            raise BuildError(f"the plan does not load: {error}") from error
        return answers if self.answer is None else self.answer(answers)


_TRTEXEC = """\
import json, os, signal, sys, time
from pathlib import Path

behaviour = json.loads(Path(__file__).with_name("behaviour.json").read_text())
options = dict(argument.removeprefix("--").partition("=")[::2] for argument in sys.argv[1:])
with Path(__file__).with_name("calls.jsonl").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
print("&&&& RUNNING TensorRT.trtexec [TensorRT v101100] [b33] #", *sys.argv, flush=True)
if "help" in options:
    sys.exit(0)
step = "build" if "onnx" in options else "run"
if step in behaviour.get("sleep", ()):
    Path(__file__).with_name("child.pid").write_text(str(os.getpid()))
    time.sleep(60)
if step in behaviour.get("kill_parent", ()):
    os.kill(os.getppid(), signal.SIGKILL)
    sys.exit(0)
if step in behaviour.get("fail", ()):
    print("[I] some step\\n[E] Error[2]: no implementation found for this node\\n[I] bye")
    sys.exit(1)
if step == "build":
    content = Path(options["onnx"]).read_bytes()
    if "nothing" not in behaviour:
        Path(options["saveEngine"]).write_bytes(content)
    sys.exit(0)
import numpy as np
import onnxruntime
engine = onnxruntime.InferenceSession(Path(options["loadEngine"]).read_bytes())
shape = [int(side) for side in options["shapes"].partition(":")[2].split("x")]
crops = np.fromfile(options["loadInputs"].partition(":")[2], np.uint8).reshape(shape)
(theta,) = engine.run(None, {"crops": crops})
theta = theta * behaviour.get("gain", 1.0)
if "nan" in behaviour:
    theta[0, 0] = np.nan
dimensions = "x".join(str(side) for side in theta.shape)
values = ", ".join("-nan" if np.isnan(value) else f"{value:.6g}" for value in theta.ravel())
Path(options["exportOutput"]).write_text(
    f'[\\n  {{ "name" : "parameters"\\n  , "dimensions" : "{dimensions}"\\n'
    f'  , "values" : [ {values} ]\\n  }}\\n]\\n'
)
"""


class FakePrograms:
    """A trtexec and an nvidia-smi that can be started; `behave` says how they go wrong."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.trtexec = self._script("trtexec", f"#!{sys.executable}\n{_TRTEXEC}")
        self.smi = self._script("nvidia-smi", "#!/bin/sh\necho 'NVIDIA L4, 8.9'\n")
        self.behave()

    def _script(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def behave(self, **behaviour):
        (self.folder / "behaviour.json").write_text(json.dumps(behaviour))

    def calls(self):
        """Return the arguments of all calls but those for the version."""
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if call != ["--help"]]

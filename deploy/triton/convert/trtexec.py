"""TensorRT by its own command line, `trtexec`: it needs no binding that must fit the container's version."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8

from deploy.triton.convert.errors import BuildError
from deploy.triton.convert.plans import CROP_SIZE, INPUT_NAME, OUTPUT_NAME, Machine, Precision, Shapes
from inversefacenet.parameters import PARAMETER_COUNT

logger = logging.getLogger(__name__)

PROGRAM: Final = Path("/usr/src/tensorrt/bin/trtexec")
_BANNER: Final = re.compile(r"\[TensorRT v(\d+)\](?: \[(b\d+)\])?")
_TOLD_LINES: Final = 6


def build_command(program: Path, onnx: Path, plan: Path, shapes: Shapes, precision: Precision) -> list[str]:
    """Return the command that builds a plan.

    The precision is in the graph's types, which `--stronglyTyped` makes binding (TensorRT 11 always does).
    A 32-bit plan also forgoes TF32, whose products have ten bits.
    """
    return [
        str(program),
        f"--onnx={onnx}",
        f"--saveEngine={plan}",
        f"--minShapes={_shape(shapes.minimum)}",
        f"--optShapes={_shape(shapes.optimum)}",
        f"--maxShapes={_shape(shapes.maximum)}",
        "--stronglyTyped",
        *(["--noTF32"] if precision is Precision.FP32 else []),
        "--skipInference",
    ]


def run_command(program: Path, plan: Path, faces: int, crops: Path, answers: Path) -> list[str]:
    """Return the command that runs a plan once on given crops and writes its answers."""
    return [
        str(program),
        f"--loadEngine={plan}",
        f"--shapes={_shape(faces)}",
        f"--loadInputs={INPUT_NAME}:{crops}",
        f"--exportOutput={answers}",
        "--iterations=1",
        "--warmUp=0",
        "--duration=0",
    ]


def gpu_command(program: str = "nvidia-smi") -> list[str]:
    """Return the command that names the GPU that CUDA calls the first."""
    return [program, "--query-gpu=name,compute_cap", "--format=csv,noheader", "--id=0"]


def _shape(faces: int) -> str:
    return f"{INPUT_NAME}:{faces}x{CROP_SIZE}x{CROP_SIZE}x3"


def read_banner(output: str) -> str:
    """Read TensorRT's version with its build number from the first line that trtexec writes.

    Raises:
        BuildError: If there is none.
    """
    found = _BANNER.search(output)
    if found is None:
        raise BuildError("trtexec doesn't say which TensorRT it is: expected '[TensorRT v...]'.")
    return "-".join(part for part in found.groups() if part)


def read_answers(text: str, faces: int) -> Float32[np.ndarray, "faces 350"]:
    """Read what `--exportOutput` wrote.

    Args:
        text: The file: JSON, but for numbers that aren't finite.
        faces: Size of the batch.

    Raises:
        BuildError: If it holds no answer for that many faces.
    """
    # JSON has no word for these numbers; Python reads NaN and Infinity.
    spelt = re.sub(r"-?\bnan\b", "NaN", text)
    spelt = re.sub(r"\binf\b", "Infinity", spelt)
    try:
        tensors = json.loads(spelt)
        values = next(tensor["values"] for tensor in tensors if tensor["name"] == OUTPUT_NAME)
        return np.array(values, np.float32).reshape(faces, PARAMETER_COUNT)
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise BuildError(f"trtexec wrote no '{OUTPUT_NAME}' for {faces} faces: {error}") from error


class Trtexec:
    """Builds and runs plans by `trtexec`, each in a process of its own."""

    def __init__(self, program: Path = PROGRAM, *, smi: str = "nvidia-smi", timeout: float = 1800.0) -> None:
        """Choose the programs.

        Args:
            program: TensorRT's trtexec.
            smi: NVIDIA's program that names the GPU.
            timeout: Seconds that one build or run may take.
        """
        self._program = program
        self._smi = smi
        self._timeout = timeout

    def machine(self) -> Machine:
        """Say what plans that are built here are valid for.

        Raises:
            BuildError: If there is no GPU or no TensorRT.
        """
        name, _, capability = self._call(gpu_command(self._smi)).strip().rpartition(",")
        if not name:
            raise BuildError("nvidia-smi names no GPU: give the container one (--gpus, or nvidia.com/gpu).")
        banner = read_banner(self._call([str(self._program), "--help"]))
        return Machine(name.strip(), capability.strip(), banner)

    def build(self, onnx: Path, plan: Path, shapes: Shapes, precision: Precision) -> None:
        """Build a plan.

        Raises:
            BuildError: If trtexec fails, takes too long or writes nothing.
        """
        self._call(build_command(self._program, onnx, plan, shapes, precision))
        if not plan.is_file() or plan.stat().st_size == 0:
            raise BuildError("trtexec said that it built the plan, but wrote none.")

    def run(
        self, plan: Path, crops: UInt8[np.ndarray, "faces 240 240 3"]
    ) -> Float32[np.ndarray, "faces 350"]:
        """Run a plan on crops, all in one batch.

        Raises:
            BuildError: If the plan doesn't load or run.
        """
        with tempfile.TemporaryDirectory() as folder:
            given, answers = Path(folder, "crops.bin"), Path(folder, "answers.json")
            given.write_bytes(np.ascontiguousarray(crops).tobytes())
            self._call(run_command(self._program, plan, len(crops), given, answers))
            try:
                text = answers.read_text()
            except OSError as error:
                raise BuildError(f"trtexec ran the plan, but wrote no answers: {error.strerror}") from error
        return read_answers(text, len(crops))

    def _call(self, command: list[str]) -> str:
        """Run a program to its end and return what it wrote; none of its children outlives it."""
        logger.info("running %s", " ".join(command))
        name = Path(command[0]).name
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise BuildError(f"{command[0]} can't be started: {error.strerror}.") from error
        try:
            output, _ = process.communicate(timeout=self._timeout)
        except subprocess.TimeoutExpired as error:
            raise BuildError(
                f"{name} took longer than {self._timeout:g} seconds: raise --timeout."
            ) from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            raise BuildError(f"{name} ended with status {process.returncode}:\n{_last_words(output)}")
        return output


def _last_words(output: str) -> str:
    """Return the lines that say why: TensorRT marks errors with [E], but not every crash writes one."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "[E]" in line]
    return "\n".join((errors or lines)[-_TOLD_LINES:])

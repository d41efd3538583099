"""The conversion from end to end: rewrite, build or fetch, compare, publish, report."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import UInt8

from deploy.triton.convert import files, repository
from deploy.triton.convert.cache import Cache, Key
from deploy.triton.convert.errors import BuildError, ConversionError, PlanRefusedError
from deploy.triton.convert.gate import Comparison, check_reference, compare
from deploy.triton.convert.network import OnnxEngine, digest, rewrite
from deploy.triton.convert.plans import CROP_SIZE, Machine, Precision, Shapes, TensorRT

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What to convert and where to put it.

    Attributes:
        onnx: The network's ONNX file.
        faces: Rendered crops to compare on, as `render_faces` wrote them.
        config: The model's config.pbtxt for a TensorRT plan.
        repository: Triton's model repository; its parent is written too, for staging.
        cache: Folder of plans that were built before.
        report: JSON file to write.
        model: Name of the model.
        precisions: Plans to build, the preferred one first.
        shapes: Batch sizes of the plans.
        keep: Older versions that stay in the repository.
    """

    onnx: Path
    faces: Path
    config: Path
    repository: Path
    cache: Path
    report: Path
    model: str = "inversefacenet"
    precisions: tuple[Precision, ...] = (Precision.FP16, Precision.FP32)
    shapes: Shapes = field(default_factory=Shapes)
    keep: int = 2


@dataclass(frozen=True)
class Candidate:
    """A plan that was built and compared.

    Attributes:
        key: What it is valid for.
        path: Where it lies in the cache.
        cached: Whether an earlier job built it.
        comparison: How it answers.
    """

    key: Key
    path: Path
    cached: bool
    comparison: Comparison

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "precision": self.key.precision,
            "cached": self.cached,
            "sha256": files.sha256(self.path) if self.path.is_file() else None,
            **self.comparison.to_dict(),
        }


def convert(order: Order, tensorrt: TensorRT) -> dict[str, Any]:
    """Build the plans, compare them with the network, and publish the preferred one that passes.

    Args:
        order: What to convert.
        tensorrt: Builds and runs plans.

    Returns:
        The report, which is written to `order.report` as well, whatever comes out.

    Raises:
        PlanRefusedError: If no plan answers as the network does; nothing was published.
        BuildError: If no plan could be built or run.
        ConversionError: If a file is missing or doesn't fit.
    """
    started = time.monotonic()
    report: dict[str, Any] = {"status": "failed", "model": order.model, "plans": []}
    try:
        with Cache(order.cache).locked():
            _convert(order, tensorrt, report)
    except ConversionError as error:
        report["error"] = str(error)
        raise
    except OSError as error:
        report["error"] = f"{error.filename}: {error.strerror}"
        raise ConversionError(f"A file can't be read or written: {report['error']}.") from error
    finally:
        report["seconds"] = round(time.monotonic() - started, 1)
        order.report.parent.mkdir(parents=True, exist_ok=True)
        files.write(order.report, json.dumps(report, indent=1).encode() + b"\n")
    return report


def _convert(order: Order, tensorrt: TensorRT, report: dict[str, Any]) -> None:
    content = order.onnx.read_bytes()
    config = order.config.read_text()
    repository.check_config(config, order.shapes)
    crops = load_faces(order.faces, order.shapes)
    reference = OnnxEngine(rewrite(content, Precision.FP32)).infer(crops)
    check_reference(reference)
    machine = tensorrt.machine()
    report |= {"machine": asdict(machine), "network": digest(content), "shapes": asdict(order.shapes)}
    chosen, failures = None, []
    for precision in order.precisions:
        try:
            candidate = _candidate(order, tensorrt, machine, content, precision, crops, reference)
        except BuildError as error:
            logger.error("no %s plan: %s", precision, error)
            failures.append(f"{precision}: {error}")
            report["plans"].append({"precision": precision, "accepted": False, "error": str(error)})
            continue
        report["plans"].append(candidate.to_dict())
        if candidate.comparison.accepted:
            chosen = chosen or candidate
        else:
            failures += [f"{precision}: {offence}" for offence in candidate.comparison.offences]
    if chosen is None:
        refused = any("offences" in plan for plan in report["plans"])
        report["status"] = "refused" if refused else "failed"
        kind = PlanRefusedError if refused else BuildError
        raise kind("No plan goes live; Triton keeps what it has.\n" + "\n".join(failures))
    record = {**chosen.key.fields(), "comparison": chosen.comparison.to_dict()}
    version = repository.publish(order.repository / order.model, chosen.path, config, record, keep=order.keep)
    report |= {"status": "published", "version": version, "precision": chosen.key.precision}


def _candidate(
    order: Order,
    tensorrt: TensorRT,
    machine: Machine,
    content: bytes,
    precision: Precision,
    crops: UInt8[np.ndarray, "faces 240 240 3"],
    reference: np.ndarray,
) -> Candidate:
    """Fetch a plan from the cache or build it, and compare it. A cached one that is off is built again."""
    cache = Cache(order.cache)
    graph = rewrite(content, precision)
    key = Key(machine, digest(content), digest(graph), precision, order.shapes)
    cached = cache.find(key)
    if cached is not None:
        try:
            comparison = _compare(tensorrt, cached, order.shapes, precision, crops, reference)
            if comparison.accepted:
                return Candidate(key, cached, True, comparison)
            logger.warning("the cached %s plan is off and is built again", precision)
        except BuildError as error:
            logger.warning("the cached %s plan doesn't run and is built again: %s", precision, error)
        cache.drop(key)
    with tempfile.TemporaryDirectory() as folder:
        onnx, plan = Path(folder, "network.onnx"), Path(folder, "model.plan")
        onnx.write_bytes(graph)
        tensorrt.build(onnx, plan, order.shapes, precision)
        comparison = _compare(tensorrt, plan, order.shapes, precision, crops, reference)
        # A plan that is off isn't kept: the next job tries again.
        path = cache.add(key, plan) if comparison.accepted else plan
        return Candidate(key, path, False, comparison)


def _compare(
    tensorrt: TensorRT,
    plan: Path,
    shapes: Shapes,
    precision: Precision,
    crops: UInt8[np.ndarray, "faces 240 240 3"],
    reference: np.ndarray,
) -> Comparison:
    """Run a plan at several batch sizes, each on other faces than the one before as far as they go."""
    pairs, start = {}, 0
    for size in shapes.tested():
        start = start if start + size <= len(crops) else 0
        part = slice(start, start + size)
        pairs[size] = (tensorrt.run(plan, crops[part]), reference[part])
        start += size
    comparison = compare(precision, pairs)
    logger.info("%s plan: %s", precision, comparison.to_dict())
    return comparison


def load_faces(path: Path, shapes: Shapes) -> UInt8[np.ndarray, "faces 240 240 3"]:
    """Read the rendered crops.

    Raises:
        ConversionError: If the file holds no crops, or fewer than the largest batch.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as archive:
            crops = archive["crops"]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise ConversionError(f"The rendered faces {path.name} can't be read: {error}") from error
    if crops.dtype != np.uint8 or crops.shape[1:] != (CROP_SIZE, CROP_SIZE, 3):
        raise ConversionError(f"The rendered faces {path.name} are no uint8 crops: {crops.shape}.")
    if len(crops) < shapes.maximum:
        raise ConversionError(f"{len(crops)} rendered faces are too few for a batch of {shapes.maximum}.")
    return crops

"""`python -m deploy.triton.convert`: one conversion; exit status 0 published, 1 failed, 3 refused."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path
from types import FrameType

from deploy.triton.convert.errors import ConversionError
from deploy.triton.convert.job import Order, convert
from deploy.triton.convert.plans import Precision, Shapes
from deploy.triton.convert.trtexec import PROGRAM, Trtexec

SOURCE = Path("model_repository", "inversefacenet")


def main(arguments: list[str] | None = None) -> int:
    """Run the job.

    Returns:
        0 if a plan is published, 1 if none could be made, 3 if those that were made are off.
    """
    values = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    # As process 1 of a container, and so that trtexec is ended too.
    signal.signal(signal.SIGTERM, _stop)
    root: Path = values.output
    try:
        order = Order(
            onnx=values.onnx,
            faces=values.faces,
            config=values.config,
            repository=root / "repository",
            cache=values.cache or root / "cache",
            report=values.report or root / "conversion.json",
            precisions=tuple(dict.fromkeys(values.precision or Precision)),
            shapes=Shapes(*values.batches),
            keep=values.keep,
        )
        report = convert(order, Trtexec(values.trtexec, smi=values.nvidia_smi, timeout=values.timeout))
    except (ConversionError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status if isinstance(error, ConversionError) else 1
    plan = next(plan for plan in report["plans"] if plan["precision"] == report["precision"])
    print(
        f"version={report['version']} precision={report['precision']} cached={int(plan['cached'])} "
        f"rotation_difference={plan['largest_difference']['rotation']:.2g} seconds={report['seconds']}"
    )
    return 0


def newest_network(folder: Path = SOURCE) -> Path:
    """Return the network of the newest version in a model's folder; version 1's place if there is none."""
    versions = [int(path.parent.name) for path in folder.glob("*/model.onnx") if path.parent.name.isdecimal()]
    return folder / str(max(versions, default=1)) / "model.onnx"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.triton.convert",
        description="Build TensorRT plans of the network, check them against ONNX Runtime, and publish one.",
    )
    parser.add_argument("--onnx", type=Path, default=newest_network(), help="the network")
    parser.add_argument("--config", type=Path, default=SOURCE / "config.pbtxt", help="Triton's configuration")
    parser.add_argument("--faces", type=Path, default=Path("faces.npz"), help="rendered crops to compare on")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("/models"),
        help="folder, on one file system, that gets repository/, cache/ and conversion.json",
    )
    parser.add_argument("--cache", type=Path, help="folder of built plans, if not in the output")
    parser.add_argument("--report", type=Path, help="JSON report, if not in the output")
    parser.add_argument(
        "--precision",
        type=Precision,
        action="append",
        choices=list(Precision),
        help="plan to build, the preferred one first; may be given twice (default: fp16, then fp32)",
    )
    parser.add_argument(
        "--batches",
        type=int,
        nargs=3,
        default=(1, 8, 32),
        metavar=("MIN", "OPT", "MAX"),
        help="batch sizes of the plan (default: 1 8 32)",
    )
    parser.add_argument("--keep", type=_count, default=2, help="older versions that stay (default: 2)")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds for one build (default: 1800)")
    parser.add_argument("--trtexec", type=Path, default=PROGRAM, help="TensorRT's trtexec")
    parser.add_argument("--nvidia-smi", default="nvidia-smi", help="the program that names the GPU")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())

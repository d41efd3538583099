"""Bring a network into ``model_repository/``: ``python -m training.publish --network FILE.onnx``.

The file becomes the newest version, with its evaluation and its digest in Triton's configurations; older
versions stay to go back to, or go (``--keep``). The job may be killed at any moment: the repository is then
the old one or the new one (`training.repository`), and the same command finishes what is left to do.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

import numpy as np

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.networks import NETWORK_FILE, REPOSITORY
from training import model_card
from training.repository import EVALUATION_FILE, add_version, digest

LIMIT_BYTES: Final = 20_000_000
"""Largest network that goes into the repository: the weights travel with the code."""

TEMPLATE: Final = Path(__file__).resolve().parents[1] / REPOSITORY
_FACE_MODEL: Final = "face_model"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.publish", description="Make a network the newest version of a repository."
    )
    parser.add_argument("--network", type=Path, required=True, help="ONNX file that training.export wrote")
    parser.add_argument(
        "--evaluation",
        type=Path,
        help=f"its figures, as training.evaluate records them (default: {EVALUATION_FILE} beside it)",
    )
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="the model's folder")
    parser.add_argument("--keep", type=int, default=1, help="older versions that stay (default: 1)")
    parser.add_argument("--limit-bytes", type=int, default=LIMIT_BYTES, help="0: any size")
    values = parser.parse_args(arguments)
    try:
        version = publish(
            values.network, values.repository, values.evaluation, values.keep, values.limit_bytes
        )
    except InverseFaceNetError as error:
        print(f"publish: {error}", file=sys.stderr)
        return 1
    sha256 = digest(values.repository / str(version) / NETWORK_FILE)
    print(f"version={version} sha256={sha256} keep={values.keep} repository={values.repository}")
    return 0


def publish(
    network: Path,
    repository: Path = REPOSITORY,
    evaluation: Path | None = None,
    keep: int = 1,
    limit_bytes: int = LIMIT_BYTES,
) -> int:
    """Check a network and make it the newest version, unless it is that already.

    Args:
        network: ONNX file that `training.export` wrote.
        repository: The model's folder; a new one gets the configurations of the project's own.
        evaluation: The network's figures; by default `evaluation.json` beside it, if it is of this network.
        keep: Older versions that stay, to go back to.
        limit_bytes: Largest file that is taken, 0 for any.

    Returns:
        The version's number.

    Raises:
        InputError: If the file is no network of the installed face model or too large, or if the figures
            are of another network, or the repository can't be used.
        BackendError: If the network can't be loaded or answers with numbers that aren't finite.
    """
    if keep < 0:
        raise InputError(f"--keep must be 0 or more, but is {keep}.")
    backend = OnnxBackend(network)
    content = network.read_bytes()
    if limit_bytes and len(content) > limit_bytes:
        raise InputError(
            f"{network.name} takes {len(content)} bytes, more than the {limit_bytes} that belong into a "
            "repository: export it with a lower --rank, or give --limit-bytes."
        )
    if backend.metadata.get(_FACE_MODEL) != MorphableModel.load_default().digest:
        raise InputError(f"{network.name} is of another face model than the one installed, or names none.")
    backend.infer(np.random.default_rng(0).integers(0, 256, (2, 240, 240, 3), dtype=np.uint8))
    figures = _figures(network, evaluation, backend.digest)
    version, _ = add_version(repository, content, figures, keep, TEMPLATE)
    model_card.write(repository)
    return version


def _figures(network: Path, evaluation: Path | None, sha256: str) -> bytes | None:
    """Return the evaluation's content, if there is one."""
    path = evaluation or network.with_name(EVALUATION_FILE)
    try:
        content = path.read_bytes()
        kept = json.loads(content)
    except FileNotFoundError as error:
        if evaluation is None:
            return None
        raise InputError(f"There is no evaluation {path}.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"The evaluation {path} can't be read: {error}.") from error
    if not isinstance(kept, dict) or kept.get("sha256") != sha256:
        raise InputError(
            f"{path} is not of this network ({sha256[:12]}...): measure it with `python -m "
            "training.evaluate` and --record."
        )
    return content


if __name__ == "__main__":
    raise SystemExit(main())

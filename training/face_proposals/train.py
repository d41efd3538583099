"""Train the proposal network: ``python -m training.face_proposals.train``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from inversefacenet.errors import InverseFaceNetError
from training.face_proposals.export import onnx_bytes
from training.face_proposals.label_photos import Labels
from training.face_proposals.network import STRIDES, WIDTHS, ProposalNetwork
from training.face_proposals.pictures import Picture, PictureMaker, backgrounds_of, mirrored

SHAPES: Final = ((128, 128), (112, 144), (144, 112), (96, 176))
"""Rows and columns of the training pictures."""

MEMORY: Final = 400
"""Pictures of each shape that are kept: half of each batch is drawn from them, mirrored."""

_EDGES: Final = (0.0, 22.0, 52.0, 1e9)  # where one map's faces end and the next one's begin
_OVERLAP: Final = 1.15


def targets(
    pictures: Sequence[Picture], shape: tuple[int, int]
) -> list[tuple[Float32[Tensor, "n 1 _ _"], Float32[Tensor, "n 1 _ _"], Float32[Tensor, "n 4 _ _"]]]:
    """Return what the maps should say.

    Returns:
        For each map: how much a cell is a face's centre, 1 or falling to 0 around it; the weight of that; and
        the cell's three numbers with their weight.
    """
    maps = []
    for level, (stride, own) in enumerate(zip(STRIDES, WIDTHS, strict=True)):
        rows, columns = shape[0] // stride, shape[1] // stride
        centre = np.zeros((len(pictures), 1, rows, columns), np.float32)
        weight = np.ones_like(centre)
        numbers = np.zeros((len(pictures), 4, rows, columns), np.float32)
        y, x = (np.mgrid[:rows, :columns].astype(np.float32) + 0.5) * stride
        for n, picture in enumerate(pictures):
            for cx, cy, width in picture.doubtful:
                weight[n, 0][(np.abs(x - cx) < 0.5 * width) & (np.abs(y - cy) < 0.5 * width)] = 0
            for cx, cy, width in picture.faces:
                near = np.maximum(np.abs(x - cx), np.abs(y - cy))
                if not _EDGES[level] / _OVERLAP <= width < _EDGES[level + 1] * _OVERLAP:
                    # Another map's face: here it is neither one nor none.
                    if _EDGES[level] / 1.6 <= width < _EDGES[level + 1] * 1.6:
                        weight[n, 0][near < max(0.25 * width, 0.75 * stride)] = 0
                    continue
                sd = max(0.1 * width, 0.4 * stride)
                hill = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sd * sd))
                column = min(max(int(cx / stride), 0), columns - 1)
                row = min(max(int(cy / stride), 0), rows - 1)
                hill[row, column] = 1
                weight[n, 0][hill > 0.1] = 1
                centre[n, 0] = np.maximum(centre[n, 0], hill)
                inside = (near < 0.2 * width) | (hill == 1)
                numbers[n, 0][inside] = ((cx - x) / stride)[inside]
                numbers[n, 1][inside] = ((cy - y) / stride)[inside]
                numbers[n, 2][inside] = np.log(width / own)
                numbers[n, 3][inside] = 1
        maps.append((torch.from_numpy(centre), torch.from_numpy(weight), torch.from_numpy(numbers)))
    return maps


def loss(
    maps: Sequence[Float[Tensor, "n 4 _ _"]],
    wanted: Sequence[tuple[Float[Tensor, "n 1 _ _"], Float[Tensor, "n 1 _ _"], Float[Tensor, "n 4 _ _"]]],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the errors of the centres (focal, as CenterNet's) and of place and width."""
    centres, places = [], []
    faces = max(sum(float((one[0] == 1).sum()) for one in wanted), 1.0)
    cells = max(sum(float(one[2][:, 3].sum()) for one in wanted), 1.0)
    for found, (centre, weight, numbers) in zip(maps, wanted, strict=True):
        logit = found[:, :1]
        chance = torch.sigmoid(logit)
        yes = (1 - chance) ** 2 * nn.functional.logsigmoid(logit) * (centre == 1)
        no = (1 - centre) ** 4 * chance**2 * nn.functional.logsigmoid(-logit) * (centre < 1)
        centres.append(-((yes + no) * weight).sum() / faces)
        difference = torch.abs(found[:, 1:] - numbers[:, :3]) * torch.tensor([1.0, 1.0, 4.0])[:, None, None]
        places.append((difference * numbers[:, 3:]).sum() / cells)
    return torch.stack(centres).sum(), torch.stack(places).sum()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.face_proposals.train", description="Train the proposal network."
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True, help="what `label_photos` wrote")
    parser.add_argument("--backgrounds", type=Path, default=None, help="folder of photos without faces")
    parser.add_argument("--output", type=Path, required=True, help="the ONNX file")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--channels", type=int, nargs=4, default=(16, 16, 32, 64))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--told-of-photos", default="photos labelled by dlib's detectors")
    values = parser.parse_args(arguments)
    try:
        maker = PictureMaker(values.photos, Labels.load(values.labels), backgrounds_of(values.backgrounds))
    except InverseFaceNetError as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    network = train(maker, values)
    content = onnx_bytes(network.eval(), {"trained_on": values.told_of_photos})
    values.output.write_bytes(content)
    print(f"bytes={len(content)}")
    return 0


def train(maker: PictureMaker, values: argparse.Namespace) -> ProposalNetwork:
    """Train for a time; the rate rises quickly and falls along a cosine."""
    torch.manual_seed(values.seed)
    rng = np.random.default_rng(values.seed)
    network = ProposalNetwork(tuple(values.channels))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)  # type: ignore[no-untyped-call]
    optimiser = torch.optim.AdamW(network.parameters(), values.rate, weight_decay=1e-3)
    kept: dict[tuple[int, int], list[Picture]] = {}
    started, step, seen = time.monotonic(), 0, np.zeros(2)
    while (share := (time.monotonic() - started) / (60 * values.minutes)) < 1:
        rate = values.rate * min((step + 1) / 200, 1) * (0.5 + 0.5 * np.cos(np.pi * share) + 0.005)
        for group in optimiser.param_groups:
            group["lr"] = rate
        shape = SHAPES[int(rng.integers(len(SHAPES)))]
        made = [maker.make(rng, shape) for _ in range(values.batch // 2)]
        known = kept.setdefault(shape, [])
        known[: max(0, len(known) + len(made) - MEMORY)] = []
        known += made
        drawn = rng.integers(len(known), size=values.batch - len(made))
        pictures = made + [mirrored(known[int(n)]) for n in drawn]
        pixels = torch.from_numpy(np.stack([one.pixels for one in pictures])).permute(0, 3, 1, 2)
        centre, place = loss(network(pixels), targets(pictures, shape))
        optimiser.zero_grad()
        (centre + 0.5 * place).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        averaged.update_parameters(network)
        seen += (float(centre.detach()), float(place.detach()))
        step += 1
        if step % 100 == 0:
            minutes = (time.monotonic() - started) / 60
            print(
                f"{minutes:5.1f} min  step {step}  centre {seen[0] / 100:.3f}  place {seen[1] / 100:.3f}",
                flush=True,
            )
            seen[:] = 0
            if step % 500 == 0:
                torch.save(averaged.module.state_dict(), values.output.with_suffix(".pt"))
    trained = averaged.module
    assert isinstance(trained, ProposalNetwork)
    return trained


if __name__ == "__main__":
    raise SystemExit(main())

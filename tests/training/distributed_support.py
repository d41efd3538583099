"""What the tests of several processes run in each of them, and alone."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import replace

import torch
from synthetic_face import make_model
from torch import nn

from inversefacenet.morphable_model import MorphableModel
from training import network, validation
from training.distributed import joined
from training.options import Options, Run
from training.train import train as train_by_command

PARTS, PART_FACES, STEPS = 2, 3, 3


def small_network():
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 4, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 5),
    )


def part(number):
    """A part of a batch, drawn by its number alone."""
    generator = torch.Generator().manual_seed(number)
    level = torch.rand(PART_FACES, 3, 1, 1, generator=generator)
    return level + torch.randn(PART_FACES, 3, 56, 56, generator=generator), torch.randn(
        PART_FACES, 5, generator=generator
    )


def train(processes):
    """Train a few steps; return losses, gradients of the last step, and everything that the network keeps."""
    network = small_network()
    wrapped = processes.wrap(network, torch.device("cpu"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for index in range(STEPS):
        parts = [part(index * PARTS + number) for number in processes.own_parts(PARTS)]
        images, truth = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        wrapped.train()
        loss = (wrapped(images) - truth).square().sum(dim=1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(processes.mean({"loss": loss.detach()})["loss"].item())
    network.eval()
    return {
        "losses": torch.tensor(losses),
        "gradients": torch.cat([p.grad.flatten() for p in network.parameters()]),
        **network.state_dict(),
        "answer": network(part(99)[0]).detach(),
    }


def agreements(processes):
    """What the processes tell each other."""
    told = {
        "nobody": processes.any(False),
        "somebody": processes.any(processes.rank == 1),
        "parts": list(processes.own_parts(4)),
    }
    processes.check_same("the first iteration", 5)
    try:
        processes.check_same("the first iteration", 5 + processes.rank)
    except Exception as error:
        told["refused"] = f"{type(error).__name__}: {error}"
    return told


OPTIONS = Options(iterations=3, batch_size=4, rank=4, batch_parts=PARTS, image_space=False)


def run_in(folder):
    return Run(folder, device="cpu", workers=0, checkpoint_every=2, validate_every=2)


def whole_runs(folder, ports):
    """Train by the command's own function: to the end, and stopped after each iteration."""
    MorphableModel.load_default = classmethod(lambda cls: make_model())
    network.HIDDEN_COUNT, validation.FACES = 16, 4
    os.environ["MASTER_PORT"] = str(ports[0])
    train_by_command(OPTIONS, run_in(folder / "whole"), ["command"])
    for port in ports[1 : 1 + OPTIONS.iterations]:
        os.environ["MASTER_PORT"] = str(port)
        train_by_command(OPTIONS, replace(run_in(folder / "stopped"), stop_after=1e-9))


def one_process(rank, ports, folder):
    """Run all of it as one of two processes; leave what came out in a file."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(ports[0]),
    }
    torch.set_num_threads(1)
    try:
        with joined(torch.device("cpu")) as processes:
            result = {"trained": train(processes), "told": agreements(processes), "first": processes.first}
        torch.save(result, folder / f"{rank}.pt")
        whole_runs(folder, ports[1:])
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        raise

"""What the tests of several processes run in each of them, and alone."""

from __future__ import annotations

import os
import sys
import traceback

import torch
from torch import nn

from training.distributed import joined

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


def one_process(rank, port, folder):
    """Run all of it as one of two processes; leave what came out in a file."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    try:
        with joined(torch.device("cpu")) as processes:
            result = {"trained": train(processes), "told": agreements(processes), "first": processes.first}
        torch.save(result, folder / f"{rank}.pt")
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        raise

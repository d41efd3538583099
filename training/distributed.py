"""Training by several processes: ``torchrun --nproc-per-node N -m training.train ... --batch-parts N``.

Convention:
    A batch is made of parts (`Options.batch_parts`), each drawn on its own: part p of batch i has the number
    i * parts + p, whoever draws it. Processes share the parts, average their gradients, and normalise over
    the whole batch; so N processes train what one process trains with the same options, up to the order of
    sums and dropout's draws. Only the first process logs, validates and writes checkpoints; all read them, so
    the run's folder must be one that all see.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from inversefacenet.errors import InputError

LONGEST_WAIT: Final = timedelta(hours=12)
"""How long processes wait for one that validates or draws a corpus. If one dies, torchrun ends all."""

_SET_BY_TORCHRUN: Final = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Processes:
    """The processes that train together, seen by one of them.

    Attributes:
        rank: This one's number.
        count: How many there are.
        local_rank: This one's number on its machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that logs and writes checkpoints."""
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """Return this process's own GPU where GPUs are used."""
        if device.type != "cuda" or self.count == 1:
            return device
        if self.local_rank >= torch.cuda.device_count():
            raise InputError(
                f"There are {torch.cuda.device_count()} GPUs here, but process {self.local_rank} wants one "
                "of its own: give torchrun a smaller --nproc-per-node."
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def own_parts(self, parts: int) -> range:
        """Return which of a batch's parts are this process's.

        Raises:
            InputError: If they can't be shared evenly.
        """
        if parts % self.count:
            raise InputError(
                f"{self.count} processes can't share {parts} parts of a batch evenly: give --batch-parts "
                f"{self.count}, or a multiple of it."
            )
        share = parts // self.count
        return range(self.rank * share, (self.rank + 1) * share)

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Return a module that computes what the network does, and averages gradients when they are taken.

        Batch normalisation is changed in place to take its statistics over all processes. The network itself
        keeps its parameters and their names: it is what optimizer, validation and checkpoints work with.
        """
        if self.count == 1:
            return network
        if device.type == "cuda":
            # It replaces layers within the network; only a lone layer would come back as another object.
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        else:
            for layer in network.modules():
                if type(layer) is nn.BatchNorm2d:
                    layer.__class__ = SharedBatchNorm
        ids = [device] if device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=ids)

    def wait(self) -> None:
        """Wait until all processes have come here: after what one of them does for all, such as a file."""
        if self.count > 1:
            dist.all_reduce(torch.zeros(1))

    def any(self, own: bool) -> bool:
        """Return whether it is so in any process: all then do the same, such as stop."""
        if self.count == 1:
            return own
        flag = torch.tensor(float(own))
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def mean(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each term's mean over the processes; all must call this with the same names."""
        if self.count == 1:
            return dict(terms)
        stacked = torch.stack([term.detach().float() for term in terms.values()])
        dist.all_reduce(stacked)
        return dict(zip(terms, (stacked / self.count).unbind(), strict=True))

    def check_same(self, what: str, own: int) -> None:
        """Make sure that all processes start alike.

        Raises:
            InputError: If another process has another value.
        """
        if self.count == 1:
            return
        ends = torch.tensor([own, -own], dtype=torch.int64)
        dist.all_reduce(ends, dist.ReduceOp.MAX)
        if int(ends[0]) != own or int(ends[1]) != -own:
            raise InputError(
                f"The processes don't agree on {what} (here {own}): they must see the same --output folder."
            )


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started, or be alone without torchrun.

    Args:
        device: Where networks are: gradients travel by NCCL between GPUs and by Gloo otherwise.

    Raises:
        InputError: If the environment is torchrun's only in part.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    missing = [name for name in _SET_BY_TORCHRUN if not os.environ.get(name)]
    if missing:
        raise InputError(f"WORLD_SIZE is set without {', '.join(missing)}: start the processes by torchrun.")
    # Small agreements are made between the hosts, so that no GPU has to be waited for.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=LONGEST_WAIT)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]))
    finally:
        dist.destroy_process_group()


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes on CPUs, where PyTorch has none of its own.

    The processes' batches must have the same size.
    """

    def forward(
        self, images: Float[Tensor, "faces channels height width"]
    ) -> Float[Tensor, "faces channels height width"]:
        """Normalise by the mean and variance of all processes' images; at inference by the running ones."""
        if not self.training:
            return super().forward(images)
        processes = dist.get_world_size()
        mean = _sum(images.mean(dim=(0, 2, 3))) / processes
        centred = images - mean[:, None, None]
        variance = _sum(centred.square().mean(dim=(0, 2, 3))) / processes
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            count = processes * images.numel() // images.shape[1]
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / max(count - 1, 1), self.momentum)
            self.num_batches_tracked += 1
        gain = self.weight / (variance + self.eps).sqrt()
        return centred * gain[:, None, None] + self.bias[:, None, None]


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _sum(value: Float[Tensor, "channels"]) -> Float[Tensor, "channels"]:
    total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return total

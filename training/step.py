"""One step of gradient descent: forward, the loss that the options name, backward, update."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inversefacenet.morphable_model import MorphableModel
from training.batches import TrainingBatch
from training.fast_network import halved
from training.image_space import COLOUR_WEIGHT, POSITION_WEIGHT, ImageSpaceTerms
from training.loss import WEIGHTS, model_space_scale, parameter_loss, plain_scale
from training.network import normalise
from training.options import Options
from training.photometric import PhotometricLoss
from training.torch_model import TorchFaceModel


class Step:
    """Takes batches and improves a network."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler | None,
        options: Options,
        model: MorphableModel,
        device: torch.device,
        bfloat16: bool,
    ) -> None:
        """Prepare the losses.

        Args:
            network: What is trained.
            optimizer: Its optimizer.
            schedule: The learning rate's schedule, if there is one.
            options: They name the losses.
            model: The face model.
            device: Where the network is.
            bfloat16: Whether its matrix products run in bfloat16.
        """
        scale = (
            plain_scale() if options.loss == "plain" else model_space_scale(model, WEIGHTS[options.weights])
        )
        self._scale = torch.from_numpy(scale).to(device)
        self._image_space = ImageSpaceTerms(model, device) if options.image_space else None
        self._photometric = None
        if options.photo_batch:
            self._photometric = PhotometricLoss(TorchFaceModel(model).to(device))
        self._photo_weight = options.photo_weight
        self._network, self._optimizer, self._schedule = network, optimizer, schedule
        self._device, self._bfloat16 = device, bfloat16

    def __call__(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """Learn from a batch; returns the loss and its terms."""
        self._network.train()
        # One pass for rendered faces and photographs, so that batch normalisation sees both at once.
        crops = [one[0] for one in (batch.labelled, batch.photos) if one is not None]
        images = halved([normalise(one) for one in crops]).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            predicted = self._network(images)
        terms: dict[str, Tensor] = {}
        labelled = 0
        if batch.labelled is not None:
            theta = batch.labelled[1]
            labelled = len(theta)
            terms["parameters"] = parameter_loss(predicted[:labelled], theta, self._scale)
            if self._image_space is not None:
                positions, colours = self._image_space(predicted[:labelled], theta)
                terms |= {"positions": POSITION_WEIGHT * positions, "colours": COLOUR_WEIGHT * colours}
        if batch.photos is not None:
            assert self._photometric is not None
            for name, term in self._photometric(predicted[labelled:], batch.photos).items():
                terms[name] = self._photo_weight * term
        loss = torch.stack(list(terms.values())).sum()
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._optimizer.step()
        if self._schedule is not None:
            self._schedule.step()
        return {name: term.detach() for name, term in terms.items()} | {"loss": loss.detach()}

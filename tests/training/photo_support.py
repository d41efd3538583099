"""Photographs for tests: rendered faces in memory, in place of a prepared store."""

from __future__ import annotations

import numpy as np

from inversefacenet.parameters import Parameters
from training.rendered import rendered_crop


class RenderedPhotos:
    """What `training.photo_store.PhotoStore` gives, of rendered faces."""

    def __init__(self, model, theta):
        crops = [rendered_crop(model, Parameters.from_vector(one)) for one in theta]
        self.theta = theta
        self._crops = np.stack([crop.image for crop in crops])
        self._masks = np.stack([crop.mask for crop in crops])
        self._landmarks = np.stack([crop.landmarks for crop in crops]).astype(np.float32)

    @property
    def landmarks(self):
        return self._landmarks

    def __len__(self):
        return len(self._crops)

    def crops(self, index):
        return self._crops[index]

    def masks(self, index):
        return self._masks[index]

"""What photographs show of skin beyond their fits."""

import numpy as np

from inversefacenet.crop import face_mask
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from training.photo_store import PhotoStore
from training.skin_study import _FEWEST, lacking, main


class Store(PhotoStore):
    """Crops in memory."""

    def __init__(self, renderings):
        object.__setattr__(self, "_crops", np.stack([one.image for one in renderings]))
        object.__setattr__(self, "landmarks", np.stack([one.landmarks for one in renderings]))

    def crops(self, index):
        return self._crops[list(index)]

    def masks(self, index):
        return np.stack([face_mask(self.landmarks[one]) for one in index])


def test_what_skin_lacks_is_found_where_it_is_seen(synthetic_model):
    from dataclasses import replace

    truth = np.zeros_like(synthetic_model.mean_reflectance)
    upper = synthetic_model.mean_geometry[:, 1] > 0
    truth[upper] = (0.05, 0.0, -0.05)
    real = replace(synthetic_model, mean_reflectance=synthetic_model.mean_reflectance + truth)
    thetas = [Parameters.neutral().vector() for _ in range(_FEWEST)]
    store = Store([render(real, Parameters.from_vector(theta)) for theta in thetas])
    fits = {"theta": np.stack(thetas), "index": np.arange(_FEWEST)}
    found = lacking(synthetic_model, store, fits)
    seen = (found != 0).any(axis=1)
    assert seen.mean() > 0.1
    assert not seen[np.setdiff1d(np.arange(len(seen)), synthetic_model.painted_vertices)].any()
    np.testing.assert_allclose(np.median(found[seen & upper], axis=0), (0.05, 0.0, -0.05), atol=0.01)
    np.testing.assert_allclose(np.median(found[seen & ~upper], axis=0), 0, atol=0.01)
    few = {name: values[: _FEWEST - 1] for name, values in fits.items()}
    assert not lacking(synthetic_model, store, few).any()


def test_what_is_no_store_is_named(tmp_path, capsys):
    command = ["--store", str(tmp_path), "--fits", str(tmp_path / "fits.npz"), "--photos", str(tmp_path)]
    assert main(command) == 1
    assert "skin_study: " in capsys.readouterr().err

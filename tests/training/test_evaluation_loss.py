import numpy as np
import pytest
import torch

from training.evaluation.parameter_loss import model_space_losses, paper_scale
from training.loss import model_space_scale, parameter_loss


def test_the_evaluations_loss_is_the_trainings(synthetic_model, rng):
    answers, truths = rng.normal(size=(2, 5, 350)).astype(np.float32)
    np.testing.assert_array_equal(paper_scale(synthetic_model), model_space_scale(synthetic_model))
    scale = torch.from_numpy(model_space_scale(synthetic_model))
    expected = parameter_loss(torch.from_numpy(answers), torch.from_numpy(truths), scale)
    assert model_space_losses(synthetic_model, answers, truths).mean() == pytest.approx(
        float(expected), rel=1e-5
    )

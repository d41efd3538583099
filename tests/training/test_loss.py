import re
from pathlib import Path

import numpy as np
import pytest
import torch

from inversefacenet.parameters import GROUPS
from inversefacenet.sampling import DISTRIBUTIONS
from training.loss import BALANCED, PAPER, group_losses, model_space_scale, parameter_loss, plain_scale


@pytest.fixture
def pair(rng):
    return torch.from_numpy(rng.normal(size=(2, 5, 350)).astype(np.float32)).unbind()


def test_loss_is_the_quadratic_form_of_equation_7(synthetic_model, pair):
    scale = model_space_scale(synthetic_model)
    sigma = np.diag(scale.astype(float))
    matrix = sigma.T @ sigma
    difference = (pair[0] - pair[1]).double().numpy()
    expected = np.mean([d @ matrix @ d for d in difference])
    assert float(parameter_loss(*pair, torch.from_numpy(scale))) == pytest.approx(expected, rel=1e-5)


def test_scale_is_the_diagonal_of_equation_8(synthetic_model):
    model = synthetic_model
    scale = model_space_scale(model, PAPER)
    root = np.sqrt(model.vertex_count)
    np.testing.assert_array_equal(scale[:3], 400)
    np.testing.assert_allclose(scale[3:131], 50 * model.shape_sigma / root, rtol=1e-5)
    np.testing.assert_allclose(scale[131:195], 50 * model.expression_sigma / root, rtol=1e-5)
    np.testing.assert_allclose(scale[195:323], 1000 * model.reflectance_sigma / root, rtol=1e-5)
    np.testing.assert_array_equal(scale[323:], 20)


def test_shape_term_is_the_mean_squared_vertex_error_in_millimetres(synthetic_model, rng):
    scale = torch.from_numpy(model_space_scale(synthetic_model, PAPER))
    theta = np.zeros((1, 350), np.float32)
    theta[0, 3:131] = rng.normal(size=128)
    loss = float(parameter_loss(torch.from_numpy(theta), torch.zeros(1, 350), scale))
    moved = synthetic_model.geometry(theta[0, 3:131], np.zeros(64)) - synthetic_model.mean_geometry
    assert loss == pytest.approx(50**2 * (moved**2).sum(axis=1).mean(), rel=1e-3)


def test_balanced_weights_raise_reflectance_and_light(synthetic_model):
    ratio = model_space_scale(synthetic_model, BALANCED) / model_space_scale(synthetic_model, PAPER)
    np.testing.assert_allclose(ratio[:195], 1, rtol=1e-6)
    np.testing.assert_allclose(ratio[195:323], 1.5, rtol=1e-5)
    np.testing.assert_allclose(ratio[323:], 10, rtol=1e-6)


def test_plain_loss_counts_every_parameter_alike(pair):
    loss = parameter_loss(*pair, torch.from_numpy(plain_scale()))
    torch.testing.assert_close(loss, (pair[0] - pair[1]).square().sum() / 5)


def test_groups_add_up_to_the_loss(synthetic_model, pair):
    scale = torch.from_numpy(model_space_scale(synthetic_model))
    groups = group_losses(*pair, scale)
    assert list(groups) == list(GROUPS)
    assert sum(groups.values()) == pytest.approx(float(parameter_loss(*pair, scale)), rel=1e-5)
    changed = pair[0].clone()
    changed[:, 200] += 1
    moved = group_losses(changed, pair[1], scale)
    assert moved["reflectance"] != groups["reflectance"]
    assert all(moved[name] == groups[name] for name in groups if name != "reflectance")


def test_groups_start_where_the_conventions_say(default_model):
    # Predicting the mean, on the paper's distribution, with the paper's weights.
    theta = torch.from_numpy(DISTRIBUTIONS["paper"].sample(np.random.default_rng(0), 1500, default_model))
    mean = theta.mean(dim=0, keepdim=True).expand_as(theta)
    start = group_losses(mean, theta, torch.from_numpy(model_space_scale(default_model, PAPER)))
    stated = {
        "rotation": 5.6e4,
        "shape": 2.9e4,
        "expression": 1.9e4,
        "reflectance": 1.7e4,
        "illumination": 1.6e2,
    }
    for name, value in stated.items():
        assert value / 2 < start[name] < 2 * value, name


def stated_costs():
    """Read the table of `docs/conventions.md`: group, size of the error, cost."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "conventions.md").read_text()
    pattern = r"^\| (\w+) \| .*?([\d.]+)(?: rad| mm RMS| RMS)? \| (\d+) \|$"
    return {group: (float(size), float(cost)) for group, size, cost in re.findall(pattern, page, flags=re.M)}


def test_errors_cost_what_the_conventions_say(synthetic_model):
    costs = stated_costs()
    assert list(costs) == list(GROUPS)
    per_unit = {
        "shape": synthetic_model.shape_rms[0],
        "expression": synthetic_model.expression_rms[0],
        "reflectance": synthetic_model.reflectance_rms[0],
    }
    scale = torch.from_numpy(model_space_scale(synthetic_model, PAPER))
    for group, (size, cost) in costs.items():
        theta = torch.zeros(1, 350)
        theta[0, GROUPS[group].start] = size / float(per_unit.get(group, 1.0))
        loss = float(parameter_loss(theta, torch.zeros(1, 350), scale))
        assert loss == pytest.approx(cost, rel=1e-4), group

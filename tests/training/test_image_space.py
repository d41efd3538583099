import numpy as np
import pytest
import torch

from inversefacenet.camera import fit_placement, project, rotation_matrix
from inversefacenet.colour import srgb_encode
from inversefacenet.crop import KEPT_LANDMARKS
from inversefacenet.illumination import irradiance
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import vertex_normals
from inversefacenet.rendering import pose_and_shade
from inversefacenet.sampling import NATURAL
from training.image_space import ImageSpaceTerms

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def terms(synthetic_model):
    return ImageSpaceTerms(synthetic_model, CPU)


@pytest.fixture
def faces(synthetic_model):
    return NATURAL.sample(np.random.default_rng(4), 6, synthetic_model)


def test_positions_are_the_crops(synthetic_model, terms, faces):
    positions = terms.positions(torch.from_numpy(faces))
    for theta, shown in zip(faces, positions.numpy(), strict=True):
        vertices, _ = pose_and_shade(synthetic_model, Parameters.from_vector(theta))
        landmarks = project(vertices[synthetic_model.landmarks[KEPT_LANDMARKS]])
        expected = fit_placement(landmarks).apply(landmarks)
        np.testing.assert_allclose(shown[:66], expected, atol=0.02)
        assert shown.shape[0] == 66 + min(400, len(synthetic_model.painted_vertices))


def test_colours_are_the_renderings_where_they_are_neither_black_nor_burnt(synthetic_model, terms, faces):
    normals = vertex_normals(synthetic_model.mean_geometry, synthetic_model.triangles)
    vertices = synthetic_model.landmarks[KEPT_LANDMARKS]
    given = torch.from_numpy(np.repeat(normals[None, vertices], len(faces), axis=0))
    padded = torch.cat([given, given.new_zeros(len(faces), len(terms._normals) - 66, 3)], dim=1)
    shown = terms.colours(torch.from_numpy(faces), padded)[:, :66].numpy()
    checked = 0
    for theta, levels in zip(faces, shown, strict=True):
        parameters = Parameters.from_vector(theta)
        linear = synthetic_model.reflectance(parameters.reflectance)[vertices] * irradiance(
            normals[vertices], parameters.illumination
        )
        proper = (linear > 0.01) & (linear < 1)
        checked += proper.sum()
        np.testing.assert_allclose(levels[proper], 255 * srgb_encode(linear)[proper], atol=0.05)
    assert checked > 500


def test_truth_costs_nothing_and_errors_cost_something(terms, faces):
    theta = torch.from_numpy(faces)
    assert [float(term) for term in terms(theta, theta)] == [0, 0]
    turned, lit = theta.clone(), theta.clone()
    turned[:, 0] += 0.1
    lit[:, 323:326] += 0.1
    positions, colours = terms(turned, theta)
    assert float(positions) > 1
    assert float(colours) == 0
    positions, colours = terms(lit, theta)
    assert float(positions) == 0
    assert float(colours) > 1


def test_position_term_is_the_mean_squared_distance(terms, faces):
    theta = torch.from_numpy(faces)
    other = theta.roll(1, dims=0)
    expected = (terms.positions(other) - terms.positions(theta)).square().sum(dim=-1).mean()
    torch.testing.assert_close(terms(other, theta)[0], expected)


def test_only_vertices_that_face_the_camera_count_for_colour(terms, faces):
    theta = torch.from_numpy(faces[:2]).clone()
    theta[:, 0] = 1.1
    other = theta.clone()
    other[:, 323:] *= 0.7
    rotations = torch.from_numpy(rotation_matrix(theta[:, :3].numpy()))
    normals = terms._normals @ rotations.transpose(1, 2)
    facing = normals[..., 2] > 0.1
    assert 0.2 < float(facing.float().mean()) < 0.9
    difference = (terms.colours(other, normals) - terms.colours(theta, normals))[facing]
    torch.testing.assert_close(terms(other, theta)[1], difference.square().mean(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", [0.0, 60.0])
def test_black_and_burnt_faces_still_get_a_gradient(terms, faces, level):
    theta = torch.from_numpy(faces)
    predicted = theta.clone()
    predicted[:, 323:] = 0
    predicted[:, 323:326] = level
    predicted.requires_grad_()
    torch.autograd.backward(torch.stack(terms(predicted, theta)).sum())
    assert bool(predicted.grad.isfinite().all())
    assert bool((predicted.grad[:, 323:326].abs() > 0).all())


def test_sample_is_the_same_for_the_same_seed(synthetic_model, terms, faces):
    theta = torch.from_numpy(faces)
    again = ImageSpaceTerms(synthetic_model, CPU)
    torch.testing.assert_close(again.positions(theta), terms.positions(theta), rtol=0, atol=0)

import numpy as np
import pytest
import torch

from inversefacenet.camera import landmark_points, rotation_matrix
from inversefacenet.colour import srgb_decode, srgb_encode
from inversefacenet.crop import face_mask
from inversefacenet.illumination import irradiance
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import rasterize, vertex_normals
from inversefacenet.rendering import render
from training import torch_crop, torch_model, torch_rasterizer, torch_renderer, torch_shading
from training.torch_model import TorchFaceModel
from training.torch_renderer import render_crops

DEVICES = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()


def soup(seed, size=48, vertices=60, triangles=120):
    """Triangles in all sizes and directions, some beyond the picture, some behind the camera."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.3 * size, 1.3 * size, (vertices, 3)).astype(np.float32)
    points[:, 2] = rng.uniform(-2e-4, 2e-3, vertices)
    near = rng.integers(0, vertices, triangles // 2)
    points[near[: vertices // 3], :2] = points[0, :2] + rng.uniform(-3, 3, (vertices // 3, 2))
    return points, rng.integers(0, vertices, (triangles, 3)).astype(np.int32), size


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_rasterizer_sees_the_same_triangles_as_the_library(device):
    meshes = [soup(seed) for seed in range(6)]
    triangles, size = meshes[0][1], meshes[0][2]
    points = np.stack([mesh[0] for mesh in meshes])
    ids = torch_rasterizer.rasterize_batch(
        torch.from_numpy(points).to(device), torch.from_numpy(triangles).long().to(device), size
    )
    expected = np.stack([rasterize(face, triangles, size, size).triangle for face in points])
    assert 0.3 < (expected >= 0).mean() < 1
    np.testing.assert_array_equal(ids.cpu().numpy(), expected)


def test_first_of_equally_near_triangles_wins():
    points = torch.tensor([[[1.0, 1, 0.01], [1, 9, 0.01], [9, 9, 0.01], [9, 1, 0.01]]])
    first = torch.tensor([[0, 1, 2], [0, 1, 2], [1, 2, 3]])
    assert set(torch_rasterizer.rasterize_batch(points, first, 10).unique().tolist()) == {-1, 0, 2}
    assert set(torch_rasterizer.rasterize_batch(points, first.flip(0), 10).unique().tolist()) == {-1, 0, 1}


def test_edges_and_corners_of_pixels_belong_as_in_the_library():
    points = np.array([[0.5, 0.5, 0.01], [0.5, 8.5, 0.01], [8.5, 8.5, 0.01], [8.5, 0.5, 0.01]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    ids = torch_rasterizer.rasterize_batch(torch.from_numpy(points[None]), torch.from_numpy(triangles), 10)
    assert (ids >= 0).sum() == 81
    np.testing.assert_array_equal(ids[0].numpy(), rasterize(points, triangles, 10, 10).triangle)


def test_empty_picture_and_back_faces_are_empty():
    points = torch.tensor([[[1.0, 1, 0.01], [9, 9, 0.01], [1, 9, 0.01]]])
    ids = torch_rasterizer.rasterize_batch(points, torch.tensor([[0, 1, 2]]), 10)
    assert (ids == -1).all()


def test_result_does_not_depend_on_chunks(monkeypatch):
    points, triangles, size = soup(3)
    arguments = (torch.from_numpy(points[None]), torch.from_numpy(triangles), size)
    whole = torch_rasterizer.rasterize_batch(*arguments)
    monkeypatch.setitem(torch_rasterizer.CANDIDATES_AT_ONCE, "cpu", 7)
    assert torch.equal(torch_rasterizer.rasterize_batch(*arguments), whole)


def test_result_does_not_depend_on_the_classes_of_boxes(monkeypatch):
    points, triangles, size = soup(4)
    arguments = (torch.from_numpy(points[None]), torch.from_numpy(triangles), size)
    fine = torch_rasterizer.rasterize_batch(*arguments)
    monkeypatch.setitem(torch_rasterizer.FEW_FACES, "cpu", 1)
    assert torch.equal(torch_rasterizer.rasterize_batch(*arguments), fine)
    assert len(fine.unique()) > 5


def test_geometry_reflectance_normals_and_landmarks_equal_the_librarys(face_model, theta):
    model = TorchFaceModel(face_model)
    faces = model.pose(torch.from_numpy(theta))
    normals = model.vertex_normals(faces.vertices)
    for index, vector in enumerate(theta):
        parameters = Parameters.from_vector(vector)
        geometry = face_model.geometry(parameters.shape, parameters.expression)
        vertices = geometry @ rotation_matrix(parameters.rotation).T
        np.testing.assert_allclose(faces.vertices[..., index].T, vertices, atol=2e-3)
        expected = vertex_normals(faces.vertices[..., index].T.contiguous().numpy(), face_model.triangles)
        np.testing.assert_allclose(normals[..., index].T, expected, atol=1e-3)
        light = irradiance(expected, parameters.illumination)
        colours = face_model.reflectance(parameters.reflectance) * light
        np.testing.assert_allclose(faces.colours[..., index].T, colours, atol=2e-3)
        landmarks = landmark_points(face_model, vertices, float(parameters.rotation[2]))
        np.testing.assert_allclose(faces.landmarks[index], landmarks, atol=1e-5)


def test_vertex_of_no_triangle_has_no_normal(synthetic_model):
    model = TorchFaceModel(synthetic_model)
    flat = torch.zeros(3, synthetic_model.vertex_count, 2)
    assert (model.vertex_normals(flat) == 0).all()


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_rendering_equals_the_librarys(face_model, theta, device):
    model = TorchFaceModel(face_model).to(device)
    rendered = render_crops(model, torch.from_numpy(theta).to(device))
    encoded = torch_renderer.to_uint8(torch_shading.srgb_encode(rendered.linear)).cpu().numpy()
    crops, masks = rendered.crops().cpu().numpy(), rendered.masks.cpu().numpy()
    for index, vector in enumerate(theta):
        expected = render(face_model, Parameters.from_vector(vector))
        same = rendered.triangles[index].cpu().numpy() == expected.fragments.triangle
        assert same.mean() > 0.9995
        assert np.abs(encoded[index].astype(int) - expected.image)[same].max() <= 1
        mask = face_mask(expected.landmarks)
        # A pixel centre may lie within the landmarks' rounding of an edge.
        assert (masks[index] != mask).sum() <= 2
        both = same & mask & masks[index]
        assert np.abs(crops[index].astype(int) - expected.image)[both].max() <= 1
        assert (rendered.model_masks[index].cpu().numpy() == expected.model_mask)[same].all()
        np.testing.assert_allclose(rendered.landmarks[index].cpu(), expected.landmarks, atol=2e-3)


def test_crops_are_black_outside_the_mask_and_lit_inside(synthetic_model, theta):
    rendered = render_crops(TorchFaceModel(synthetic_model), torch.from_numpy(theta), size=80)
    crops = rendered.crops()
    assert crops.shape == (5, 80, 80, 3)
    assert crops.dtype == torch.uint8
    assert (crops[~rendered.masks] == 0).all()
    assert (crops[rendered.masks & rendered.covered] > 0).any(dim=1).all()


def test_plain_torch_draws_what_the_compiled_rasterizer_draws(face_model, theta):
    model = TorchFaceModel(face_model)
    vectors = torch.from_numpy(theta)
    compiled = render_crops(model, vectors)
    plain = render_crops(model, vectors.clone().requires_grad_())
    assert torch.equal(compiled.triangles, plain.triangles)
    assert torch.equal(compiled.masks, plain.masks)
    torch.testing.assert_close(compiled.linear, plain.linear.detach(), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_same_parameters_give_the_same_bits(synthetic_model, theta, device):
    model = TorchFaceModel(synthetic_model).to(device)
    vectors = torch.from_numpy(theta).to(device)
    first, second = render_crops(model, vectors), render_crops(model, vectors)
    assert torch.equal(first.linear, second.linear)
    assert torch.equal(first.triangles, second.triangles)
    assert torch.equal(first.masks, second.masks)


def test_a_face_does_not_depend_on_its_batch(synthetic_model, theta):
    model = TorchFaceModel(synthetic_model)
    together = render_crops(model, torch.from_numpy(theta))
    alone = render_crops(model, torch.from_numpy(theta[2:3]))
    assert (together.triangles[2] != alone.triangles[0]).float().mean() < 5e-4
    difference = together.crops()[2].int() - alone.crops()[0].int()
    assert (difference.abs() > 1).float().mean() < 1e-3


def test_landmark_noise_moves_crop_and_mask_alone(synthetic_model, theta):
    model = TorchFaceModel(synthetic_model)
    vectors = torch.from_numpy(theta)
    clean = render_crops(model, vectors, size=120)
    noise = torch.randn(5, 68, 2, generator=torch.Generator().manual_seed(0))
    noisy = render_crops(model, vectors, size=120, landmark_noise=noise)
    kept = noisy.landmarks[:, model.kept_landmarks]
    extent = kept.amax(dim=1) - kept.amin(dim=1)
    torch.testing.assert_close(extent.amax(dim=1), torch.full((5,), 119.0), atol=1e-3, rtol=0)
    moved = (noisy.landmarks - clean.landmarks).norm(dim=2).mean()
    assert 0.5 < moved < 4
    assert not torch.equal(noisy.masks, clean.masks)
    np.testing.assert_array_equal(noisy.masks[1], face_mask(noisy.landmarks[1].numpy(), 120))


@pytest.mark.parametrize("fixed", [True, False])
def test_gradient_equals_finite_differences(synthetic_model, theta, fixed):
    """All 350 parameters at once, along random directions, in double precision."""
    model = TorchFaceModel(synthetic_model).double()
    start = torch.from_numpy(theta[:2]).double()
    rng = torch.Generator().manual_seed(2)
    triangles = render_crops(model, start, size=40).triangles
    weights = torch.randn(2, 40, 40, 3, generator=rng, dtype=torch.float64)

    def loss(vectors):
        rendered = render_crops(model, vectors, size=40, triangles=triangles)
        picture = rendered.encoded() if fixed else rendered.linear
        return (picture * weights).sum()

    vectors = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(vectors), vectors)
    for group in (slice(0, 3), slice(3, 131), slice(131, 195), slice(195, 323), slice(323, 350)):
        direction = torch.zeros_like(start)
        direction[:, group] = torch.randn(2, direction[:, group].shape[1], generator=rng, dtype=torch.float64)
        direction /= direction.norm()
        step = 1e-6
        numeric = (loss(start + step * direction) - loss(start - step * direction)) / (2 * step)
        assert abs(numeric) > 1e-3
        torch.testing.assert_close((gradient * direction).sum(), numeric, rtol=2e-5, atol=1e-5)


def test_photometric_loss_decreases_along_its_gradient(synthetic_model, theta):
    model = TorchFaceModel(synthetic_model)
    target = render_crops(model, torch.from_numpy(theta[:1]), size=60).encoded()
    vectors = torch.from_numpy(theta[:1])
    light = (vectors[:, 323:] + 0.05).requires_grad_()
    losses = []
    optimizer = torch.optim.Adam([light], lr=5e-3)
    for _ in range(15):
        picture = render_crops(model, torch.cat([vectors[:, :323], light], dim=1), size=60).encoded()
        loss = (picture - target).square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_face_masks_equal_the_librarys(device):
    rng = np.random.default_rng(5)
    spread = rng.uniform(5, 91, (12, 68, 2)).astype(np.float32)
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    circle = 48 + 40 * np.stack([np.cos(angle), np.sin(angle)], 1)
    lattice = np.stack(np.divmod(np.arange(68), 9), 1) * 8.0 + 10.5
    doubled = np.repeat(spread[0, ::2], 2, axis=0)
    points = np.concatenate([spread, [circle, lattice, doubled]]).astype(np.float32)
    masks = torch_crop.face_masks(torch.from_numpy(points).to(device), 96).cpu().numpy()
    for mask, landmarks in zip(masks, points, strict=True):
        np.testing.assert_array_equal(mask, face_mask(landmarks, 96))


def test_shading_functions_equal_the_librarys():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.uniform(-0.2, 1.2, 400), [0, 0.0031308, 0.04045, 1]]).astype(np.float32)
    encoded = torch_shading.srgb_encode(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(encoded, srgb_encode(values), atol=1e-6)
    decoded = torch_shading.srgb_decode(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(decoded, srgb_decode(values), atol=1e-6)
    normals = rng.normal(size=(50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = rng.normal(size=(4, 9, 3))
    planes = torch.from_numpy(normals.T[..., None].repeat(4, axis=2))
    result = torch_shading.sh_irradiance(planes, torch.from_numpy(light)).numpy()
    for index in range(4):
        np.testing.assert_allclose(result[..., index].T, irradiance(normals, light[index]), atol=1e-12)


def test_encoding_has_a_finite_slope_at_black():
    linear = torch.tensor([0.0, -1.0, 1e-9, 2.0], requires_grad=True)
    (slope,) = torch.autograd.grad(torch_shading.srgb_encode(linear).sum(), linear)
    assert torch.isfinite(slope).all()
    assert slope[2] == pytest.approx(12.92)


def test_rotation_equals_the_librarys():
    angles = np.random.default_rng(0).uniform(-1, 1, (6, 3))
    result = torch_model.rotation_matrix(torch.from_numpy(angles)).numpy()
    np.testing.assert_allclose(result, rotation_matrix(angles), atol=1e-12)

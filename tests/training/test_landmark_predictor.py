"""Rendered heads, their labels and boxes, and a small predictor that is trained on them."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from inversefacenet.camera import fit_placement, project, rotation_matrix
from inversefacenet.crop import landmarks66
from inversefacenet.dlib_models import STOCK_PREDICTOR, DlibModels, import_dlib, weights_path
from inversefacenet.errors import InputError
from inversefacenet.landmarks import FaceDetector
from inversefacenet.parameters import Parameters
from training.landmark_predictor.boxes import find_box, fit_boxes, inner_frame, training_boxes
from training.landmark_predictor.compare import area_under_curve, compare, nme, read_points
from training.landmark_predictor.effect import effect
from training.landmark_predictor.hair import STEPS, STRANDS, draw_hair
from training.landmark_predictor.head import Head
from training.landmark_predictor.label_photos import KEPT_SIDE, MIRRORED, _cut, mirror
from training.landmark_predictor.pack import read_dlib
from training.landmark_predictor.points import JAW, MARKS, annotated
from training.landmark_predictor.render import render_batch, render_set
from training.landmark_predictor.scenes import SIDE, draw_scene
from training.landmark_predictor.train import MARGIN, Pictures, TrainingOptions, train


@pytest.fixture(scope="module")
def head(default_model) -> Head:
    """The face before a plain disc: what the real head needs is not installed everywhere."""
    model = annotated(default_model)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([85 * np.cos(turn), 25 + 115 * np.sin(turn), np.full(24, -40.0)], axis=1)
    vertices = np.concatenate([ring, [[0, 25, -20.0]]]).astype(np.float32)
    triangles = np.array([[i, (i + 1) % 24, 24] for i in range(24)], np.int32)
    rim = np.array([int(model.landmarks[0]), int(model.landmarks[16])], np.int32)
    teeth = np.array([[-20, -35, 50], [20, -35, 50], [0, -45, 50]], np.float32)
    return Head(
        model=model,
        vertices=vertices,
        triangles=triangles,
        rim=rim,
        follow=np.zeros((25, 2), np.float32),
        blend=np.full((25, 2), 0.5, np.float32),
        teeth=np.concatenate([teeth, teeth]),
        teeth_triangles=np.array([[0, 2, 1], [3, 5, 4]], np.int32),
        upper_teeth=3,
    )


def frontal(**groups) -> Parameters:
    return Parameters.from_dict({"rotation": [0.0, 0, 0], **groups})


def test_points_lie_where_they_are_said_to(default_model):
    model = annotated(default_model)
    points = model.mean_geometry[model.landmarks]
    eyes = points[[36, 39], 1].mean()
    for number, place in MARKS.items():
        assert np.linalg.norm(points[number, :2] - (place[0], place[1] + eyes)) < 2.5
    mirrored = points[MIRRORED] * (-1, 1, 1)
    assert np.linalg.norm(mirrored - points, axis=1).max() < 2.0
    jaw = points[:17]
    assert (np.diff(jaw[:, 0]) > 0).all()
    picture = jaw[:, :2] * (700 / (700 - jaw[:, 2:]))
    assert np.linalg.norm(picture[:9] - (0, eyes) - np.array(JAW)[:, :2], axis=1).max() < 4
    steps = np.linalg.norm(np.diff(picture, axis=0), axis=1)
    assert steps.max() < 1.6 * steps.min()


def test_points_owe_nothing_to_the_models_own(default_model):
    moved = annotated(default_model)
    shuffled = annotated(replace(default_model, landmarks=default_model.landmarks[::-1].copy()))
    np.testing.assert_array_equal(moved.landmarks, shuffled.landmarks)
    np.testing.assert_array_equal(moved.contour_candidates, shuffled.contour_candidates)


@pytest.mark.parametrize("rotation", [(0.0, 0, 0), (0.6, 0.2, -0.1), (-0.5, -0.3, 0.2)])
def test_labels_are_the_models_projection(head, rotation):
    parameters = Parameters.from_dict({"rotation": list(rotation)})
    scene = draw_scene(head, parameters, np.random.default_rng(3))
    turned = head.model.mean_geometry @ rotation_matrix(np.array(rotation)).T
    points = project(turned)
    inner = points[head.model.landmarks[17:]]
    # The same up to the placement, which two points give.
    scale = np.linalg.norm(scene.points[45] - scene.points[36]) / np.linalg.norm(inner[28] - inner[19])
    shift = scene.points[17:].mean(axis=0) - scale * inner.mean(axis=0)
    np.testing.assert_allclose(scene.points[17:], scale * inner + shift, atol=0.02)
    jaw = scale * points[head.model.contour_candidates] + shift
    distance = np.linalg.norm(jaw - scene.points[:17, None], axis=2).min(axis=1)
    assert distance.max() < 0.02
    box = landmarks66(scene.points)
    assert 99 < np.ptp(box, axis=0).max() < 129
    np.testing.assert_allclose((box.min(axis=0) + box.max(axis=0)) / 2, SIDE / 2, atol=0.1)
    inside = scene.points[17:].astype(int)
    assert scene.covered[inside[:, 1], inside[:, 0]].all()


def test_pictures_show_the_face_at_its_labels(head):
    scene = draw_scene(head, frontal(), np.random.default_rng(8))
    pupils = [scene.points[part].mean(axis=0).astype(int) for part in (slice(36, 42), slice(42, 48))]
    cheeks = [scene.points[part].mean(axis=0).astype(int) for part in ([2, 31], [14, 35])]
    for pupil, cheek in zip(pupils, cheeks, strict=True):
        assert scene.linear[pupil[1], pupil[0]].mean() < 0.7 * scene.linear[cheek[1], cheek[0]].mean()


def test_batches_have_names(head):
    first, scenes = render_batch(head, 2, (1, 5))
    again, _ = render_batch(head, 2, (1, 5))
    other, _ = render_batch(head, 2, (1, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5
    assert first.shape == (2, SIDE, SIDE, 3)
    assert not np.array_equal(scenes[0].points, scenes[1].points)


def test_hair_covers_the_crown_and_spares_the_face(rng):
    drawn = [draw_hair(rng, np.array([0.1, 0.05, 0.02])) for _ in range(40)]
    heads = [one for one in drawn if one is not None]
    assert 25 < len(heads) < 40
    for hair in heads:
        assert hair.vertices.shape == (STRANDS * STEPS, 3)
        assert hair.vertices[:, 1].max() > 125
        before = (np.abs(hair.vertices[:, 0]) < 25) & (hair.vertices[:, 2] > 0)
        assert hair.vertices[before, 1].min() > 15  # no lower than the eyes
        assert (hair.reflectance > 0).all()
        assert (hair.reflectance < 1).all()


def test_boxes_are_found_fitted_and_moved(head, rng):
    _, points, boxes, _ = render_set(head, 24, 3)
    found = np.isfinite(boxes[:, 2])
    assert found.sum() >= 8
    model = fit_boxes(points, boxes.astype(np.float64))
    assert 3.0 < model.width < 4.0
    assert np.abs(model.shift).max() < 0.3
    drawn = np.array([training_boxes(points[0], np.full(3, np.nan), model, rng) for _ in range(300)])
    centre, radius = inner_frame(points[0])
    np.testing.assert_allclose(drawn[:, 0, :2].mean(axis=0), centre + radius * model.shift, atol=0.1 * radius)
    np.testing.assert_allclose(drawn[:, 1, :2].mean(axis=0), centre, atol=0.05 * radius)
    assert drawn[:, :, 2].mean() == pytest.approx(radius * model.width, rel=0.05)
    sure = int(np.flatnonzero(found)[0])
    given = training_boxes(points[sure], boxes[sure].astype(np.float64), model, rng)[0]
    np.testing.assert_array_equal(given, boxes[sure].astype(np.float64))
    box, score = find_box(DlibModels(), np.zeros((SIDE, SIDE), np.uint8), points[0])
    assert np.isnan(box).all()
    assert np.isnan(score)


def test_small_predictor_beats_the_mean_shape(head, tmp_path):
    pictures, points, boxes, yaws = render_set(head, 72, 7)
    path = tmp_path / "pictures.npz"
    np.savez(path, pictures=pictures, points=points, boxes=boxes, yaws=yaws)
    labelled = Pictures.load(path, MARGIN)
    assert labelled.pictures.shape[1:] == (KEPT_SIDE, KEPT_SIDE)
    seen, unseen = (
        Pictures(*(one[part] for one in vars(labelled).values())) for part in (slice(48), slice(48, 72))
    )
    options = TrainingOptions(cascade=5, trees=30, depth=3, nu=0.25, oversampling=8, pool=120, splits=12)
    predictor, samples = train([seen], options)
    assert samples == 96
    mean = read_dlib(predictor.__getstate__()[0], 0.29).mean.reshape(68, 2)
    model = fit_boxes(labelled.points, labelled.boxes.astype(np.float64))
    rng, dlib = np.random.default_rng(0), import_dlib()
    errors = []
    for picture, truth, box in zip(unseen.pictures, unseen.points, unseen.boxes, strict=True):
        x, y, width = training_boxes(truth, box.astype(np.float64), model, rng)[1]
        rectangle = dlib.rectangle(
            *(round(edge) for edge in (x - width / 2, y - width / 2, x + width / 2, y + width / 2))
        )
        parts = predictor(picture, rectangle).parts()
        answer = np.array([(part.x, part.y) for part in parts]) + 0.5
        start = (x, y) + (mean - 0.5) * width
        errors.append([np.linalg.norm(guess - truth, axis=1).mean() for guess in (answer, start)])
    answered, started = np.mean(errors, axis=0)
    assert answered < 0.93 * started


def test_missing_pictures_are_named(tmp_path):
    with pytest.raises(InputError, match="render them first"):
        Pictures.load(tmp_path / "none.npz")


def test_mirroring_twice_changes_nothing(rng):
    points = rng.normal(size=(68, 2)).astype(np.float32)
    assert sorted(MIRRORED) == list(range(68))
    np.testing.assert_allclose(mirror(mirror(points, 250), 250), points, atol=1e-4)


def test_kept_pictures_carry_their_labels(head):
    colour, (scene, *_) = render_batch(head, 1, (2, 2))
    box = np.array([*scene.points.mean(axis=0), 120.0])
    picture, points, moved = _cut(colour[0], scene.points, box)
    assert picture.shape == (KEPT_SIDE, KEPT_SIDE)
    assert inner_frame(points)[1] == pytest.approx(33, rel=1e-3)
    scale = 33 / inner_frame(scene.points)[1]
    assert moved[2] == pytest.approx(120 * scale, rel=1e-3)
    np.testing.assert_allclose(moved[:2] - points.mean(axis=0), 0, atol=0.01)
    grey = colour[0].astype(int).sum(axis=2) // 3
    for number in (8, 30, 36):
        before, after = scene.points[number].astype(int), points[number].astype(int)
        near = grey[before[1] - 3 : before[1] + 4, before[0] - 3 : before[0] + 4]
        assert near.min() - 12 <= picture[after[1], after[0]] <= near.max() + 12


def test_measures_on_annotated_photos(root, tmp_path):
    with Image.open(root / "examples" / "astronaut.png") as image:
        photo = image.convert("RGB").crop((100, 0, 356, 256))
    photo.save(tmp_path / "one.png")
    truth = FaceDetector(hard_faces=False).detect(np.asarray(photo))[0].landmarks + np.array([0.5, 0])
    lines = ["version: 1", "n_points: 68", "{", *(f"{x:.4f} {y:.4f}" for x, y in truth), "}"]
    (tmp_path / "one.pts").write_text("\n".join(lines))
    np.testing.assert_allclose(read_points(tmp_path / "one.pts"), truth, atol=1e-3)
    (answer,), truths, _ = compare(tmp_path, [None])
    assert nme(answer, truths)[0] < 0.05
    assert nme(truths + np.array([3, 4]), truths)[0] == pytest.approx(
        5 / np.linalg.norm(truths[0, 45] - truths[0, 36])
    )
    assert area_under_curve(np.array([0.0, 0.04, 0.09])) == pytest.approx(0.5)
    (tmp_path / "one.pts").write_text("1 2\n3 4")
    with pytest.raises(InputError, match="2 points, not 68"):
        compare(tmp_path, [None])


class NeutralBackend:
    """A network that always answers the mean face."""

    name, digest = "neutral", ""

    def infer(self, crops, *, timeout=None):
        return np.repeat(Parameters.neutral().vector()[None], len(crops), axis=0)


def test_same_predictor_has_no_effect(root, tmp_path):
    with Image.open(root / "examples" / "astronaut.png") as image:
        image.convert("RGB").crop((100, 0, 356, 256)).save(tmp_path / "one.png")
    (row,) = effect(tmp_path, weights_path(STOCK_PREDICTOR), NeutralBackend(), 5)
    np.testing.assert_array_equal(row[0], row[1])
    photometric, iou, landmark, landmark_usual = row[0]
    assert landmark == pytest.approx(landmark_usual, rel=1e-4)
    assert 0 < photometric < 200
    assert 0.5 < iou < 1
    (tmp_path / "one.png").unlink()
    with pytest.raises(InputError, match="shows a face"):
        effect(tmp_path, weights_path(STOCK_PREDICTOR), NeutralBackend(), 5)


def test_placement_of_labels_is_the_crops(head):
    scene = draw_scene(head, frontal(), np.random.default_rng(4))
    placed = fit_placement(landmarks66(scene.points)).apply(scene.points)
    assert landmarks66(placed).min() == pytest.approx(1, abs=0.1)

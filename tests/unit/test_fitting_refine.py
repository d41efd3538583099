"""Refinement in the pipeline: an answer that is off comes back better, with the quality from before."""

import numpy as np
import pytest

from inversefacenet.crop import crop_face
from inversefacenet.errors import InputError
from inversefacenet.landmarks import Face
from inversefacenet.metrics import measure
from inversefacenet.parameters import Parameters
from inversefacenet.reconstruction import FoundFace, Reconstructor
from inversefacenet.rendering import render
from inversefacenet.sampling import NATURAL


@pytest.fixture(scope="module")
def reconstructor(synthetic_model):
    return Reconstructor(detector=NoDetector(), backend=NoNetwork(), model=synthetic_model)


class NoDetector:
    def detect(self, image, *, faces="largest", minimum_size=None, limit=None):
        return []


class NoNetwork:
    name, digest = "none", "0" * 64

    def infer(self, crops, *, timeout=None):
        return np.zeros((len(crops), 350), np.float32)


@pytest.fixture(scope="module")
def answer(reconstructor, synthetic_model):
    theta = NATURAL.sample(np.random.default_rng(21), 1, synthetic_model)[0]
    rendering = render(synthetic_model, Parameters.from_vector(theta))
    points = rendering.landmarks
    box = tuple(map(float, (*points.min(axis=0), *points.max(axis=0))))
    found = FoundFace(Face(box, 1.0, points), crop_face(rendering.image, points))
    theta[:2] += 0.08
    theta[323:326] *= 0.8
    return reconstructor.finish([found], theta[None])[0]


def test_a_refined_answer_is_better_and_whole(reconstructor, answer, synthetic_model):
    refined = reconstructor.refine(answer, iterations=4)
    assert refined.before == answer.quality
    assert answer.before is None
    assert refined.quality.photometric < 0.6 * answer.quality.photometric
    assert refined.quality.landmark < answer.quality.landmark
    rendering = render(synthetic_model, refined.parameters)
    np.testing.assert_array_equal(refined.rendering.image, rendering.image)
    assert refined.quality == measure(answer.crop, rendering)
    assert refined.face is answer.face
    assert refined.crop is answer.crop


def test_refining_again_keeps_the_networks_quality(reconstructor, answer):
    once = reconstructor.refine(answer, iterations=1)
    twice = reconstructor.refine(once, iterations=1)
    assert twice.before == answer.quality
    assert twice.quality != once.quality


def test_no_iterations_leave_the_answer(reconstructor, answer):
    refined = reconstructor.refine(answer, iterations=0)
    np.testing.assert_array_equal(refined.parameters.vector(), answer.parameters.vector())
    assert refined.quality == answer.quality == refined.before
    with pytest.raises(InputError, match="iterations"):
        reconstructor.refine(answer, iterations=-1)

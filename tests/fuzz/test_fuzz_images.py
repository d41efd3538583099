"""Thousands of damaged files: each gets an answer or a problem of its own, and the service doesn't mind."""

import json

import numpy as np
import pytest
from fuzz_inputs import image_seeds, mutated_images, traps

from benchmarks.load.requests import RECONSTRUCT, Request, rest_photo
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.v1 import reconstruction_pb2

WHOLE = 8  # one in so many goes the whole way; the others bring landmarks, so that nothing is searched
LARGEST_DRIFT = 10.0  # per cent of the resident memory of gateway and workers


@pytest.fixture(scope="module")
def points():
    """Landmarks of a face in a picture of 160 pixels."""
    landmarks = render(MorphableModel.load_default(), Parameters.neutral()).landmarks
    return (landmarks * np.float32(100 / 240) + np.float32(30)).round(1)


def as_request(number, name, content, points):
    """Send every second one over gRPC."""
    name, whole = f"{number:05d} {name}", number // 2 % WHOLE == 0
    if number % 2:
        message = reconstruction_pb2.ReconstructRequest(content=content)
        if not whole:
            message.landmarks.add(points=points.ravel())
        return Request(name, "grpc", RECONSTRUCT, message.SerializeToString())
    known = json.dumps([points.tolist()], separators=(",", ":"))
    return rest_photo(name, content, None if whole else {"landmarks": known})


def as_requests(inputs, points):
    return [as_request(number, *one, points) for number, one in enumerate(inputs)]


def test_the_sound_files_are_read(fuzzer, points):
    """What is damaged below are photos that would be answered."""
    requests = [request for request in as_requests(2 * image_seeds(), points) if "landmarks" in request.path]
    assert fuzzer.send(requests) == {}
    assert set(fuzzer.codes) == {"ok"}


def test_mutated_images(fuzzer, points, cases, seed):
    assert fuzzer.send(as_requests(mutated_images(cases, seed), points)) == {}
    # Not all alike: some are still photos, others are found to be damaged in different ways.
    assert {"ok", "truncated-image", "unsupported-image"} <= set(fuzzer.codes)
    assert fuzzer.drift() < LARGEST_DRIFT


def test_files_that_were_made_to_cost_much(fuzzer, points):
    """Again and again: memory finds its level, which the largest pictures set, and stays there."""
    largest = [(name, content) for name, content in traps() if name in ("png-largest", "gif-frames")]
    searched = [rest_photo(f"{name} {turn}", content) for name, content in largest for turn in range(4)]
    assert fuzzer.send(searched) == {}
    fuzzer.memory.clear()
    assert fuzzer.send(as_requests(16 * traps(), points)) == {}
    assert {"image-too-large", "empty-image"} <= set(fuzzer.codes)
    assert fuzzer.drift() < LARGEST_DRIFT

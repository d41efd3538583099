"""What the proposal network says, and what the search makes of it, on the portrait and rendered faces."""

import sys

import numpy as np
import pytest
from PIL import Image

from inversefacenet.errors import BackendError, NoFaceError
from inversefacenet.face_patch import overlap
from inversefacenet.face_proposals import FaceProposals, picture_shape
from inversefacenet.landmarks import FaceDetector
from inversefacenet.parameters import Parameters
from inversefacenet.proposal_search import ProposalSearch
from inversefacenet.rendering import render

HEAD = (150, 0, 310, 200)
HEAD_BOX = np.array([22.0, 74.0, 122.0, 174.0])  # the face's box within the head, as dlib gives it


@pytest.fixture(scope="module")
def proposals() -> FaceProposals:
    return FaceProposals()


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def thorough() -> FaceDetector:
    return FaceDetector(proposals=False)


@pytest.fixture(scope="module")
def head(root) -> Image.Image:
    with Image.open(root / "examples" / "astronaut.png") as image:
        return image.convert("RGB").crop(HEAD)


def backdrop(width: int, height: int) -> Image.Image:
    row = np.linspace(60, 160, width).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(row[None, :, None], (height, width, 3)).copy())


def pasted(canvas: Image.Image, head: Image.Image, face: float, place: tuple[int, int]) -> np.ndarray:
    """Paste the head so that its face is so wide; returns the face's box."""
    scale = face / 100
    canvas.paste(
        head.resize((round(head.width * scale), round(head.height * scale)), Image.Resampling.LANCZOS), place
    )
    return HEAD_BOX * scale + np.array([*place, *place])


class Unused:
    """Stands where the full search must not be asked."""

    def search(self, image, **_):
        raise AssertionError("searched in full")


def quick(detector: FaceDetector, monkeypatch: pytest.MonkeyPatch) -> FaceDetector:
    monkeypatch.setattr(detector, "_copies", Unused())
    return detector


@pytest.mark.parametrize(
    ("size", "face", "place"),
    [
        ((3000, 2000), 250, (200, 1300)),
        ((3000, 2000), 250, (2500, 100)),
        ((3000, 2000), 1000, (900, 100)),
        ((640, 480), 60, (500, 300)),
        ((480, 640), 150, (50, 200)),
        ((400, 400), 200, (40, 0)),
        ((160, 160), 60, (30, 20)),
        ((1200, 400), 80, (900, 100)),
    ],
)
@pytest.mark.parametrize("grey", [False, True])
def test_a_face_from_an_eighth_of_the_side_needs_no_full_search(
    detector, head, monkeypatch, size, face, place, grey
):
    canvas = backdrop(*size)
    box = pasted(canvas, head.convert("L").convert("RGB") if grey else head, face, place)
    (found,) = quick(detector, monkeypatch).search(np.asarray(canvas), faces="largest")
    assert overlap(found.box, tuple(box)) > 0.6
    assert found.score > 0.25


def test_proposals_lie_on_the_face(proposals, root):
    with Image.open(root / "examples" / "astronaut.png") as image:
        photo = np.asarray(image.convert("RGB"))
    first = proposals.propose(photo)[0]
    assert overlap(first.box, (172.0, 74.0, 272.0, 174.0)) > 0.6
    logits = [one.logit for one in proposals.propose(photo, least_logit=-4.0)]
    assert logits == sorted(logits, reverse=True)
    assert proposals.propose(photo, least_logit=50.0) == []


def test_rendered_faces_are_found_alike(detector, thorough, default_model):
    found = 0
    for yaw in (-0.3, 0.0, 0.3):
        rendering = render(default_model, Parameters.from_dict({"rotation": [yaw, 0.0, 0.0]}))
        canvas = np.full((600, 700, 3), 120, np.uint8)
        canvas[200:440, 300:540][rendering.mask] = rendering.image[rendering.mask]
        expected = thorough.search(canvas, faces="largest")
        if not expected:
            continue  # dlib's detector doesn't take every rendering for a face
        (face,) = detector.search(canvas, faces="largest")
        assert overlap(face.box, expected[0].box) > 0.5
        found += 1
    assert found


def test_several_faces_are_those_of_the_full_search(detector, thorough, head, monkeypatch):
    canvas = backdrop(1500, 900)
    boxes = [
        pasted(canvas, head, face, place)
        for face, place in ((250, (40, 200)), (160, (520, 60)), (190, (820, 350)), (110, (1230, 500)))
    ]
    photo = np.asarray(canvas)
    expected = thorough.search(photo, faces="all")
    monkeypatch.undo()
    found = detector.search(photo, faces="all")
    assert len(found) == len(expected) == len(boxes)
    for box in boxes:
        assert max(overlap(one.box, tuple(box)) for one in found) > 0.6
    (largest,) = quick(detector, monkeypatch).search(photo, faces="largest")
    assert overlap(largest.box, tuple(boxes[0])) > 0.6


def test_the_largest_face_is_the_largest(detector, head, monkeypatch):
    for places in (((60, 80), (500, 100)), ((700, 80), (100, 100))):
        canvas = backdrop(1000, 700)
        large = pasted(canvas, head, 150, places[0])
        pasted(canvas, head, 90, places[1])
        (found,) = quick(detector, monkeypatch).search(np.asarray(canvas), faces="largest")
        assert overlap(found.box, tuple(large)) > 0.6


def test_where_nothing_is_confirmed_the_full_search_answers(detector, root, monkeypatch):
    with Image.open(root / "examples" / "astronaut.png") as image:
        rolled = np.asarray(
            image.convert("RGB").crop((100, 0, 356, 256)).rotate(-55, Image.Resampling.BICUBIC)
        )
    search = ProposalSearch(detector._models)
    assert search.search(rolled, faces="largest", minimum_size=20.0) == []
    (face,) = detector.search(rolled, faces="largest")
    assert abs(face.roll) > 0.5
    for blank in (np.full((400, 300, 3), 127, np.uint8), np.asarray(backdrop(120, 90))):
        assert search.search(blank, faces="all", minimum_size=20.0) == []
        with pytest.raises(NoFaceError):
            detector.detect(blank)


def test_faces_below_the_limit_are_left_out(detector, head):
    canvas = backdrop(640, 480)
    pasted(canvas, head, 80, (200, 150))
    photo = np.asarray(canvas)
    search = ProposalSearch(detector._models)
    assert search.search(photo, faces="all", minimum_size=60.0)
    assert not search.search(photo, faces="all", minimum_size=100.0)


def test_without_onnx_runtime_copies_are_searched(monkeypatch, head):
    canvas = backdrop(640, 480)
    box = pasted(canvas, head, 130, (200, 150))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    detector = FaceDetector(hard_faces=False)
    detector.load()
    (face,) = detector.search(np.asarray(canvas), faces="largest")
    assert overlap(face.box, tuple(box)) > 0.5


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((512, 512), (128, 128)),
        ((3000, 2000), (160, 112)),
        ((100, 100), (96, 96)),
        ((20, 30), (16, 32)),
        ((5, 5), (16, 16)),
        ((4000, 500), (368, 48)),
    ],
)
def test_shape_of_the_small_picture(shape, expected):
    assert picture_shape(*shape) == expected


def test_slivers_have_no_picture(proposals):
    assert proposals.propose(np.zeros((1, 4000, 3), np.uint8)) == []
    assert proposals.propose(np.zeros((1, 1, 3), np.uint8)) == []


def test_a_file_that_proposes_nothing(tmp_path):
    with pytest.raises(BackendError, match=r"none\.onnx can't be read"):
        FaceProposals(tmp_path / "none.onnx").load()
    other = tmp_path / "other.onnx"
    other.write_bytes(b"no network")
    with pytest.raises(BackendError, match=r"other\.onnx"):
        FaceProposals(other).load()

"""Rebuild the shipped texture atlas and compare. Needs the MakeHuman data: `make test-face-model`."""

from training.face_model.atlas import DEFAULT_OUTPUT, build_atlas


def test_building_it_again_gives_the_same_bytes(root):
    assert build_atlas().to_bytes() == (root / DEFAULT_OUTPUT).read_bytes()

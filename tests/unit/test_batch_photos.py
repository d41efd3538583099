"""Which photos a command means."""

import pytest

from inversefacenet.batch.photos import photos_in, photos_named, spread
from inversefacenet.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for name in ("b/2.JPG", "a.png", "b/c/1.webp", "notes.txt", "b/list.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


def test_a_folder_is_searched_to_any_depth_in_order_of_paths(folder):
    assert photos_in(folder) == ["a.png", "b/2.JPG", "b/c/1.webp"]


def test_folders_patterns_lists_and_photos_are_joined_and_each_counts_once(folder, tmp_path):
    listed = tmp_path / "photos.txt"
    listed.write_text(f"{folder}/b/2.JPG\r\n\n{folder}/gone.jpg\n")
    found = photos_named([f"{folder}/a.png", f"{folder}/**/*.webp", f"{folder}/b"], listed)
    assert found == [f"{folder}/{name}" for name in ("a.png", "b/2.JPG", "b/c/1.webp", "gone.jpg")]


def test_a_photo_whose_name_looks_like_a_pattern_is_taken_by_name(folder):
    (folder / "x[1].png").write_bytes(b"")
    assert photos_named([f"{folder}/x[1].png"]) == [f"{folder}/x[1].png"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("nowhere", "no photo, folder or pattern"),
        ("*.gif", "No file matches"),
        ("folder.jpg", "no photos in"),
    ],
)
def test_what_names_nothing_is_an_error(folder, argument, message):
    with pytest.raises(InputError, match=message):
        photos_named([f"{folder}/{argument}"])


def test_lists_that_name_nothing_are_errors(folder):
    (folder / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="names no photo"):
        photos_named([], folder / "empty.txt")
    with pytest.raises(InputError, match=r"gone.txt can't be read"):
        photos_named([], folder / "gone.txt")
    with pytest.raises(InputError, match="No photos were named"):
        photos_named([])


def test_a_limit_spreads_over_the_whole_list():
    names = [str(number) for number in range(10)]
    assert spread(names, 4) == ["0", "3", "6", "9"]
    assert spread(names, 10) == spread(names, None) == spread(names, 99) == names
    with pytest.raises(InputError, match="at least 1"):
        spread(names, 0)

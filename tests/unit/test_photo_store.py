"""The store of prepared photographs: what it gives back, what it leaves out, what it survives."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from batch_support import GivingUp, Inline, portrait
from PIL import Image

from inversefacenet.batch.files import alone_in
from inversefacenet.crop import crop_face
from inversefacenet.errors import InputError
from inversefacenet.image import load_photo
from inversefacenet.landmarks import FaceDetector
from training.photo_filter import PhotoFilter
from training.photo_store import PhotoStore, content_digest, decode_crop, encode_crop
from training.prepare import main, prepare

SHARD = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five good photos of three people, and files that give no face or no good one."""
    folder = tmp_path_factory.mktemp("photos")
    for name, brightness in (("ann/1", 1.0), ("ann/2", 0.9), ("bob/1", 0.8), ("bob/2", 0.7), ("cy/1", 1.1)):
        (folder / name).parent.mkdir(exist_ok=True)
        portrait(brightness).save(folder / f"{name}.png")
    portrait().resize((96, 96)).save(folder / "cy" / "small.png")
    portrait(box=(150, 0, 390, 240)).crop((0, 0, 240, 155)).save(folder / "cy" / "cut.png")
    Image.new("RGB", (90, 90)).save(folder / "black.png")
    (folder / "bob" / "corrupt.jpg").write_bytes((folder / "bob" / "1.png").read_bytes()[:9000])
    (folder / "notes.txt").write_text("no photo")
    return folder


def prepared(folder, store, engine=None, **options):
    return prepare(folder, store, PhotoFilter(), engine or Inline(), **({"shard": SHARD} | options))


@pytest.fixture(scope="module")
def store(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "store"
    prepared(folder, path)
    return PhotoStore.open(path)


def bytes_of(path):
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def test_crops_masks_and_landmarks_are_bit_by_bit_those_of_serving(store, folder):
    assert store.names == ["ann/1.png", "ann/2.png", "bob/1.png", "bob/2.png", "cy/1.png"]
    detector = FaceDetector(hard_faces=False)
    crops, masks = store.crops(np.arange(len(store))), store.masks(np.arange(len(store)))
    for i, name in enumerate(store.names):
        photo = load_photo(folder / name)
        (face,) = detector.detect(photo, faces="largest")
        crop = crop_face(photo, face.landmarks)
        np.testing.assert_array_equal(crops[i], crop.image)
        np.testing.assert_array_equal(masks[i], crop.mask)
        np.testing.assert_array_equal(store.landmarks[i], crop.landmarks)
        assert store.placements[i].tolist() == [crop.placement.scale, *crop.placement.offset]
        assert store.scores[i] == np.float32(face.score)
        np.testing.assert_array_equal(store.boxes[i], np.float32(face.box))
        assert store.photo_sizes[i].tolist() == [240, 240]
        assert store.face_index[i] == 0


def test_any_order_of_crops_may_be_asked_for(store):
    some = store.crops([4, 0, 4])
    np.testing.assert_array_equal(some[0], some[2])
    np.testing.assert_array_equal(some[1], store.crops(np.array([0]))[0])
    assert store.crops([]).shape == (0, 240, 240, 3)
    with pytest.raises(IndexError):
        store.crops([5])


def test_any_picture_survives_encoding(rng):
    noise = rng.integers(0, 256, (240, 240, 3), np.uint8)
    np.testing.assert_array_equal(decode_crop(encode_crop(noise)), noise)


def test_what_is_left_out_is_named_with_its_reason(store):
    lines = (store.path / "skipped.jsonl").read_text().splitlines()
    skipped = {line["photo"]: line for line in map(json.loads, lines)}
    assert {name: line["reason"] for name, line in skipped.items()} == {
        "black.png": "no-face",
        "bob/corrupt.jpg": "truncated-image",
        "cy/cut.png": "cut-off",
        "cy/small.png": "small-face",
    }
    assert all(line["message"] for line in skipped.values())
    assert store.manifest["skipped"] == {"cut-off": 1, "no-face": 1, "small-face": 1, "truncated-image": 1}
    assert (store.manifest["photos"], store.manifest["faces"], store.manifest["shards"]) == (9, 5, 5)
    assert store.digest == content_digest(store.path, 5)


def test_the_command_prepares_prints_corrupt_photos_and_sums_up(folder, store, tmp_path, capsys):
    arguments = ["--photos", str(folder), "--store", str(tmp_path / "s"), "--workers", "1", "--limit", "4"]
    assert main(arguments) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("skipped: bob/corrupt.jpg: truncated-image: ")
    assert len(said) == 2
    assert said[1].startswith("photos=4 faces=1 skipped=3 no-face=1 small-face=1 truncated-image=1 seconds=")
    assert PhotoStore.open(tmp_path / "s").names == ["ann/1.png"]


def test_thresholds_decide_what_is_kept(folder, tmp_path):
    everything = PhotoFilter(minimum_size=20, minimum_score=-1, minimum_inside=0, plausible=False)
    prepare(folder / "cy", tmp_path / "all", everything, Inline())
    assert PhotoStore.open(tmp_path / "all").names == ["1.png", "cut.png", "small.png"]
    with pytest.raises(InputError, match=r"passes the filter; .*skipped.jsonl says why"):
        prepare(folder / "cy", tmp_path / "none", PhotoFilter(minimum_score=99), Inline())
    assert (tmp_path / "none" / "skipped.jsonl").read_text().count("low-score") == 2


def test_all_faces_of_a_photo_can_be_kept(tmp_path):
    pair = Image.new("RGB", (480, 240))
    pair.paste(portrait().resize((220, 220)), (0, 0))
    pair.paste(portrait(0.8), (240, 0))
    (tmp_path / "photos").mkdir()
    pair.save(tmp_path / "photos" / "pair.png")
    loose = PhotoFilter(minimum_inside=0.5)
    prepare(tmp_path / "photos", tmp_path / "store", loose, Inline(), faces="all")
    both = PhotoStore.open(tmp_path / "store")
    assert both.names == ["pair.png", "pair.png"]
    assert both.face_index.tolist() == [0, 1]
    assert both.boxes[0, 0] > 240 > both.boxes[1, 2]


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(folder, store, tmp_path):
    path = tmp_path / "store"
    script = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "from pathlib import Path\nfrom batch_support import Dying\nfrom test_photo_store import prepared\n"
        f"prepared(Path({str(folder)!r}), Path({str(path)!r}), Dying(after=2))"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=240)
    assert killed.returncode == -9, killed.stderr.decode()
    assert sorted(file.name for file in path.glob("shard-*")) == [
        f"shard-0000{number}.{ending}" for number in (3, 4) for ending in ("crops", "npz")
    ]
    with pytest.raises(InputError, match=r"isn't prepared to the end: run training.prepare again"):
        PhotoStore.open(path)
    # Killed between the crops and their table, in the middle of a file, and after a disk lost its end.
    (path / "shard-00000.crops").write_bytes(b"half")
    (path / "shard-00001.crops.77.part").write_bytes(b"half")
    with (path / "shard-00003.crops").open("r+b") as file:
        file.truncate(100)
    prepared(folder, path)
    assert bytes_of(path) == bytes_of(store.path)


def test_finished_stores_are_not_prepared_again(folder, store):
    class Idle(Inline):
        def run(self, work, tasks):
            assert list(tasks) == []
            return iter(())

    before = bytes_of(store.path)
    assert prepared(folder, store.path, Idle()) == store.manifest
    assert bytes_of(store.path) == before


def test_a_photo_that_kills_workers_is_left_out_and_named(folder, store, tmp_path, capsys):
    prepared(folder, tmp_path / "store", GivingUp(lambda task: "bob/2.png" in str(task)))
    names = PhotoStore.open(tmp_path / "store").names
    assert names == [name for name in store.names if name != "bob/2.png"]
    assert "skipped: bob/2.png: crashed" in capsys.readouterr().out


def test_other_settings_other_photos_and_other_folders_are_refused(folder, store, tmp_path):
    with pytest.raises(InputError, match=r"made with other settings \(minimum_size is 48.0, not 60.0\)"):
        prepare(folder, store.path, PhotoFilter(minimum_size=60.0), Inline(), shard=SHARD)
    with pytest.raises(InputError, match="photos is"):
        prepared(folder, store.path, limit=4)
    (tmp_path / "diary.txt").touch()
    with pytest.raises(InputError, match="isn't empty and no store"):
        prepared(folder, tmp_path)
    with alone_in(store.path), pytest.raises(InputError, match="Another run is writing"):
        prepared(folder, store.path)
    with pytest.raises(InputError, match="faces is 'largest', not 'all'"):
        PhotoStore.open(store.path, settings={"faces": "all"})
    assert len(PhotoStore.open(store.path, settings={"faces": "largest"})) == 5


def test_damaged_stores_and_no_stores_are_clear_errors(store, tmp_path):
    with pytest.raises(InputError, match="is no store of photos"):
        PhotoStore.open(tmp_path)
    for file in store.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    manifest = tmp_path / "store.json"
    for text, words in (('{"version": 99}', "version 99; this code reads"), ("{", "can't be read")):
        manifest.write_text(text)
        with pytest.raises(InputError, match=words):
            PhotoStore.open(tmp_path)
    manifest.write_bytes((store.path / "store.json").read_bytes())
    table = tmp_path / "shard-00001.npz"
    for damage in (lambda file: file.write_bytes(b"PK\x03\x04"), lambda file: file.unlink()):
        damage(table)
        with pytest.raises(InputError, match=r"shard-00001.crops: this shard is damaged"):
            PhotoStore.open(tmp_path)


def test_nobody_is_on_both_sides_of_a_split(store):
    for seed in range(5):
        train, held_out = store.split(0.3, seed)
        assert sorted([*train, *held_out]) == list(range(5))
        people = np.array(store.people())
        assert not set(people[train]) & set(people[held_out])
        assert 0.3 * 5 <= len(held_out) <= 3
    assert [len(side) for side in store.split(0.0)] == [5, 0]
    assert len({tuple(store.split(0.3, seed)[1]) for seed in range(5)}) > 1
    np.testing.assert_array_equal(store.split(0.3, 1)[1], store.split(0.3, 1)[1])
    for share in (1.0, -0.1):
        with pytest.raises(InputError, match="lies in"):
            store.split(share)
    with pytest.raises(InputError, match="no person of 3"):
        store.split(0.99)


def test_photos_without_folders_are_people_of_their_own(folder, tmp_path):
    prepare(folder / "ann", tmp_path / "store", PhotoFilter(), Inline())
    assert PhotoStore.open(tmp_path / "store").people() == ["1.png", "2.png"]

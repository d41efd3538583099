"""`batch --refine`: a column with the quality before, and a run that goes on must refine alike."""

import json

import pyarrow.parquet as parquet
import pytest
from batch_support import Inline, portrait

from inversefacenet.batch.installation import refinement_settings
from inversefacenet.batch.photos import photos_named
from inversefacenet.batch.run import BatchRun
from inversefacenet.batch.tables import table_format
from inversefacenet.batch.work import failure
from inversefacenet.errors import InputError
from inversefacenet.image import load_photo
from inversefacenet.reconstruction import Reconstructor

STEPS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    portrait().save(folder / "a.png")
    (folder / "broken.png").write_bytes(b"no photo")
    return folder


def run_over(folder, output, **options):
    run = BatchRun(photos_named([str(folder)]), output, **options)
    with run.open() as chunks:
        list(run.work(Inline(), chunks))
        return run.finish()


def test_rows_say_how_good_the_answer_was_and_is(folder, tmp_path):
    record = run_over(folder, tmp_path / "faces.jsonl", refine=STEPS)
    assert record["settings"]["refine"] == STEPS
    good, bad = [json.loads(line) for line in (tmp_path / "faces.jsonl").read_text().splitlines()]
    assert list(good) == list(bad)
    assert list(good)[-1] == "quality_before"
    assert (bad["problem"], bad["quality_before"]) == ("unsupported-image", None)
    assert good["quality"]["photometric"] < good["quality_before"]["photometric"]
    reconstructor = Reconstructor()
    (face,) = reconstructor.reconstruct(load_photo(folder / "a.png"), "all")
    assert good["quality_before"]["photometric"] == pytest.approx(face.quality.photometric, abs=0.05)
    assert good["quality_before"]["confidence"] == good["quality"]["confidence"]
    better = reconstructor.refine(face, STEPS)
    assert good["quality"]["photometric"] == pytest.approx(better.quality.photometric, abs=0.2)

    run_over(folder, tmp_path / "faces.parquet", refine=STEPS)
    table = parquet.read_table(tmp_path / "faces.parquet")
    assert table.column_names[-1] == "quality_before"
    first, second = table.column("quality_before").to_pylist()
    assert first["photometric"] == pytest.approx(good["quality_before"]["photometric"])
    assert second is None


def test_without_it_there_is_no_such_column(tmp_path):
    row = failure("a.png", "no-face", "No face.")
    for name in ("a.jsonl", "a.parquet"):
        (tmp_path / name).write_bytes(table_format(tmp_path / name).encode([row]))
    assert "quality_before" not in json.loads((tmp_path / "a.jsonl").read_text())
    assert "quality_before" not in parquet.read_table(tmp_path / "a.parquet").column_names


def test_a_run_goes_on_only_with_the_same_refinement(folder, tmp_path):
    photos = photos_named([str(folder)])
    output = tmp_path / "faces.jsonl"
    with BatchRun(photos, output, refine=STEPS).open():
        pass
    for refine, said in ((0, f"refine is {STEPS}, not None"), (5, f"refine is {STEPS}, not 5")):
        with (
            pytest.raises(InputError, match=said),
            BatchRun(photos, output, refine=refine).open(),
        ):
            pass


def test_what_a_refinement_depends_on_is_noted():
    import numpy

    assert refinement_settings(3) == {"refine": 3, "numpy": numpy.__version__}
    # As in the plan of a run of before refinements, which names neither.
    assert refinement_settings(0) == {"refine": None, "numpy": None}

import hashlib
import json
import shutil

import pytest

from inversefacenet.errors import InputError
from inversefacenet.networks import versions
from training import model_card
from training.model_card import CARD_FILE, card


@pytest.fixture(scope="module")
def shipped(root):
    return root / "model_repository" / "inversefacenet"


@pytest.fixture
def copied(shipped, tmp_path):
    """The shipped repository without what the card doesn't read."""
    newest = str(versions(shipped)[-1])
    folder = tmp_path / "inversefacenet"
    (folder / newest).mkdir(parents=True)
    for name in ("model.onnx", "evaluation.json"):
        shutil.copy(shipped / newest / name, folder / newest)
    return folder


def evaluation_of(folder):
    return folder / str(versions(folder)[-1]) / "evaluation.json"


def test_the_committed_card_is_of_the_newest_version_and_its_figures(shipped):
    assert (shipped / CARD_FILE).read_text() == card(shipped), "run `python -m training.model_card`"


def test_the_card_tells_file_licence_limits_and_every_figure(shipped):
    text = card(shipped)
    newest = shipped / str(versions(shipped)[-1])
    assert hashlib.sha256((newest / "model.onnx").read_bytes()).hexdigest() in text
    for part in ("## Licence", "## Limits", "## Fairness", "## Training and data", "## Evaluation"):
        assert text.count(part) == 1
    for name, figures in json.loads((newest / "evaluation.json").read_text())["evaluations"].items():
        assert f"**{name}**: {figures['faces']} faces" in text
        for method in (m for m, v in figures.items() if isinstance(v, dict) and m != "groups"):
            assert f"| {method} | " in text


def test_other_figures_give_another_card(copied):
    before = card(copied)
    path = evaluation_of(copied)
    kept = json.loads(path.read_text())
    name = next(iter(kept["evaluations"]))
    kept["evaluations"][name]["network"]["photometric"] = 1.2345
    kept["evaluations"][name]["groups"] = {"skin tone": {"dark": {"faces": 17, "photometric": 2.5}}}
    path.write_text(json.dumps(kept))
    after = card(copied)
    assert after != before
    assert "| 1.234 |" in after or "| 1.235 |" in after
    assert "By skin tone:" in after
    assert "| dark | 17 | 2.5 |" in after


def test_figures_of_another_network_are_refused(copied):
    path = evaluation_of(copied)
    path.write_text(path.read_text().replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(InputError, match="another network"):
        card(copied)


def test_a_network_that_was_not_measured_says_so(copied):
    evaluation_of(copied).unlink()
    assert "Not measured yet." in card(copied)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, "the file doesn't say"),
        ({"history": "[]", "adapted": "9 photographs"}, "without labels or names"),
        ({"history": '["1 iterations; 8 photographs a batch"]'}, "without labels or names"),
        ({"history": '["1 iterations of 32 rendered faces"]', "adapted": ""}, "No photograph was looked at."),
    ],
)
def test_the_card_says_whether_photographs_were_seen(told, expected):
    assert expected in model_card._training(told)


def test_command_line_writes_the_card_or_says_what_is_wrong(copied, tmp_path, capsys):
    assert model_card.main(["--repository", str(copied)]) == 0
    assert (copied / CARD_FILE).read_text() == card(copied)
    assert "file=" in capsys.readouterr().out
    assert model_card.main(["--repository", str(tmp_path / "none")]) == 1
    assert "training.publish" in capsys.readouterr().err

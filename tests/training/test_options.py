from pathlib import Path

import pytest

from training.options import DEFAULT, PAPER, Run, parse


def test_defaults_are_the_default_preset():
    options, run = parse(["--output", "out/run"])
    assert options == DEFAULT
    assert run == Run(Path("out/run"))


def test_paper_is_section_6_1():
    options, _ = parse(["--preset", "paper", "--output", "x"])
    assert options == PAPER
    assert (options.iterations, options.batch_size) == (75_000, 32)
    assert (options.optimizer, options.learning_rate, options.weight_decay) == ("adadelta", 0.01, 0.001)
    assert (options.loss, options.weights, options.distribution) == ("model-space", "paper", "paper")
    assert (options.batch_norm, options.rank, options.image_space, options.augmentation) == (
        False,
        0,
        False,
        "none",
    )


def test_options_override_the_preset():
    options, run = parse(
        ["--preset", "paper", "--batch-norm", "--iterations", "10", "--learning-rate", "0.5", "--output", "x",
         "--stop-after", "60", "--device", "cpu"]
    )  # fmt: skip
    assert (options.batch_norm, options.iterations, options.learning_rate) == (True, 10, 0.5)
    assert options.optimizer == "adadelta"
    assert (run.stop_after, run.device) == (60.0, "cpu")
    assert not parse(["--no-image-space", "--output", "x"])[0].image_space


@pytest.mark.parametrize("wrong", [["--loss", "l1"], ["--distribution", "lfw"], ["--iterations", "many"], []])
def test_unknown_values_are_refused(wrong, capsys):
    output = ["--output", "x"] if wrong else []
    with pytest.raises(SystemExit):
        parse([*wrong, *output])
    assert "usage" in capsys.readouterr().err

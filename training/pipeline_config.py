"""What a whole schedule is told: a YAML or JSON file, checked before anything starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from inversefacenet.errors import InputError, MissingDependencyError
from training.options import CHOICES, DEFAULT, PRESETS, Options
from training.perturbation import Perturbation


@dataclass(frozen=True)
class PipelineConfig:
    """A schedule: first training, bootstrapping, fine-tuning on photographs.

    Attributes:
        seed: Seed of the first stage; later ones count on from it.
        first: The first stage's options.
        rounds: Bootstrapping rounds, 0 for none.
        round_options: Changes of the first stage's options in each round.
        perturbation: How new parameters are drawn around the answers to photographs.
        finetuning: Changes of the first stage's options in the last stage, None for no such stage.
    """

    seed: int
    first: Options
    rounds: int
    round_options: Mapping[str, Any]
    perturbation: Perturbation
    finetuning: Mapping[str, Any] | None

    @property
    def needs_photos(self) -> bool:
        """Whether any stage looks at photographs."""
        return self.rounds > 0 or self.finetuning is not None

    def scaled(self, fraction: float) -> PipelineConfig:
        """Return the schedule with each stage's iterations (and the corpus) at a fraction of its length."""

        def shorter(changes: Mapping[str, Any]) -> dict[str, Any]:
            return {**changes, "iterations": max(1, round(fraction * changes["iterations"]))}

        return replace(
            self,
            first=replace(
                self.first,
                iterations=max(1, round(fraction * self.first.iterations)),
                corpus_faces=round(fraction * self.first.corpus_faces),
            ),
            round_options=shorter(self.round_options),
            finetuning=None if self.finetuning is None else shorter(self.finetuning),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything by name, ready for JSON."""
        return {
            "seed": self.seed,
            "first": self.first.to_dict(),
            "rounds": self.rounds,
            "round_options": dict(self.round_options),
            "perturbation": dict(self.perturbation.__dict__),
            "finetuning": None if self.finetuning is None else dict(self.finetuning),
        }


_SECTIONS: Final = ("seed", "first", "bootstrapping", "finetuning")
_SET_BY_PIPELINE: Final = ("initial", "parameters", "photos", "seed")


def load_config(path: Path) -> PipelineConfig:
    """Read a schedule.

    Raises:
        InputError: If the file is missing, can't be read, or says something that is unknown.
        MissingDependencyError: If it is YAML and PyYAML isn't installed.
    """
    content = _read(path)
    unknown = sorted(set(content) - set(_SECTIONS))
    if unknown:
        raise InputError(f"{path}: unknown section {', '.join(unknown)}; known are {', '.join(_SECTIONS)}.")
    first = dict(_mapping(content.get("first", {}), f"{path}: first"))
    preset = first.pop("preset", "default")
    if preset not in PRESETS:
        raise InputError(f"{path}: first.preset is {preset!r}; known are {', '.join(PRESETS)}.")
    seed = int(content.get("seed", 0))
    start = replace(PRESETS[preset], **_options(first, f"{path}: first"), seed=seed)
    boot = dict(_mapping(content.get("bootstrapping") or {"rounds": 0}, f"{path}: bootstrapping"))
    rounds = int(boot.pop("rounds", 0))
    perturbation = _perturbation(boot.pop("perturbation", {}), f"{path}: bootstrapping.perturbation")
    round_options = _options(boot.pop("options", {}), f"{path}: bootstrapping.options")
    round_options["iterations"] = int(boot.pop("iterations", 7500))
    if boot:
        raise InputError(f"{path}: bootstrapping: unknown {', '.join(sorted(boot))}.")
    finetuning = content.get("finetuning")
    if finetuning is not None:
        finetuning = _options(finetuning, f"{path}: finetuning")
        finetuning.setdefault("iterations", 7500)
        finetuning.setdefault("photo_batch", 16)
    return PipelineConfig(seed, start, rounds, round_options, perturbation, finetuning)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text()
    except OSError as error:
        raise InputError(f"The schedule {path} can't be read: {error.strerror}.") from error
    if path.suffix == ".json":
        try:
            return _mapping(json.loads(text), str(path))
        except json.JSONDecodeError as error:
            raise InputError(f"{path} is no JSON: {error}.") from error
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError(
            "Schedules in YAML need PyYAML: pip install pyyaml, or convert the file to JSON where it is "
            "installed: `python -m training.pipeline --config FILE.yaml --as-json FILE.json`."
        ) from error
    try:
        return _mapping(yaml.safe_load(text), str(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is no YAML: {error}.") from error


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where} must map names to values.")
    return value


def _options(values: Any, where: str) -> dict[str, Any]:
    """Check options' names and types against `Options`."""
    known = {item.name: type(getattr(DEFAULT, item.name)) for item in fields(Options)}
    result: dict[str, Any] = {}
    for name, value in _mapping(values, where).items():
        if name not in known or name in _SET_BY_PIPELINE:
            raise InputError(f"{where}: {name} is no option that a schedule sets.")
        kind = known[name]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InputError(f"{where}: {name} must be of type {kind.__name__}, not {value!r}.")
        if name in CHOICES and value not in CHOICES[name]:
            raise InputError(f"{where}: {name} must be one of {', '.join(CHOICES[name])}, not {value!r}.")
        result[name] = value
    return result


def _perturbation(values: Any, where: str) -> Perturbation:
    mapping = dict(_mapping(values, where))
    unknown = sorted(set(mapping) - {item.name for item in fields(Perturbation)})
    if unknown:
        raise InputError(f"{where}: unknown {', '.join(unknown)}.")
    if mapping.get("meaning", "variance") not in ("variance", "standard-deviation"):
        raise InputError(f"{where}: meaning must be variance or standard-deviation.")
    return Perturbation(**mapping)

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from inversefacenet.editing import (
    LIGHTS,
    Expression,
    Mix,
    Neutral,
    Pose,
    Relight,
    apply_edits,
    edits_to_data,
    light_names,
    parse_edits,
)
from inversefacenet.editing.lights import (
    LUMINANCE,
    directional_light,
    lamp_coefficients,
    mean_irradiance,
    relative_to,
)
from inversefacenet.editing.tone import TONES
from inversefacenet.errors import EditError
from inversefacenet.illumination import irradiance
from inversefacenet.parameters import GROUPS, PARAMETER_COUNT, Parameters


@pytest.fixture(scope="module")
def model(synthetic_model):
    return synthetic_model


def face(seed: int) -> Parameters:
    vector = np.random.default_rng(seed).normal(0, 0.2, PARAMETER_COUNT)
    vector[GROUPS["illumination"]][:3] += 0.9
    return Parameters.from_vector(vector)


@pytest.fixture
def present() -> Parameters:
    return face(1)


@pytest.fixture
def others() -> dict[str, Parameters]:
    return {"ann": face(2), "bob": face(3)}


def changed(before: Parameters, after: Parameters) -> set[str]:
    return {name for name in GROUPS if not np.array_equal(getattr(before, name), getattr(after, name))}


def apply(model, present, *spec, others=None) -> Parameters:
    return apply_edits(model, present, parse_edits(list(spec), model, others))


WHITE = [[1.0, 1.0, 1.0]] + [[0.0, 0.0, 0.0]] * 8

EVERY_EDIT = [
    {"edit": "relight", "light": "left"},
    {"edit": "relight", "coefficients": WHITE, "strength": 0.5},
    {"edit": "relight", "direction": [1, 0.5, 0], "colour": [1, 0.5, 0.25], "ambient": 0.1},
    {"edit": "relight", "direction": [0, 0, 1]},
    {"edit": "relight", "from": "ann", "strength": 0.25},
    {"edit": "pose", "yaw": 10, "roll": -5},
    {"edit": "pose", "pitch": 10, "relative": False},
    {"edit": "expression", "units": {"jawOpen": 0.5, "mouthSmileLeft": 1}},
    {"edit": "expression", "units": {"jawOpen": -0.5}, "relative": True, "strength": 0.5},
    {"edit": "expression", "coefficients": [0.5] * 64},
    {"edit": "expression", "from": "bob"},
    {"edit": "neutral"},
    {"edit": "neutral", "strength": 0.5},
    {"edit": "identity", "coefficients": {"0": 1.5, "3": -1}},
    {"edit": "skin", "coefficients": {"1": 1}, "tone": 0.5},
    {"edit": "skin", "tone": -1},
    {
        "edit": "mix",
        "from": "ann",
        "shape": 0.5,
        "reflectance": 0.25,
        "expression": 1,
        "light": 0.5,
        "pose": 1,
    },
]


def test_edits_go_through_json_and_back(model, others):
    edits = parse_edits(EVERY_EDIT, model, others)
    data = json.loads(json.dumps(edits_to_data(edits)))
    assert parse_edits(data, model, others) == edits
    assert len({repr(entry) for entry in data}) == len(EVERY_EDIT)


@pytest.mark.parametrize("entry", EVERY_EDIT, ids=lambda entry: str(entry)[9:60])
def test_an_edit_that_was_read_back_does_the_same(model, others, present, entry):
    edits = parse_edits([entry], model, others)
    again = parse_edits(edits_to_data(edits), model, others)
    once = apply_edits(model, present, edits)
    assert changed(present, once)
    np.testing.assert_array_equal(once.vector(), apply_edits(model, present, again).vector())


def added(weight, strength=1.0):
    return {"edit": "expression", "units": {"jawOpen": weight}, "relative": True, "strength": strength}


@pytest.mark.parametrize(
    ("spec", "total"),
    [
        ([added(1.5)] * 64, 1.5),
        ([added(-1.5)] * 64, -1.5),
        ([added(1.5), added(1.5), added(-0.5)], 1.0),
        ([added(1.5, 0.5)] * 3, 1.5),
        ([added(1.0), added(1.0, 0.25), added(0.1)], 1.35),
    ],
)
def test_relative_units_add_up_to_no_more_than_their_range(model, present, spec, total):
    expected = present.expression + model.expression_from_units({"jawOpen": total})
    np.testing.assert_allclose(apply(model, present, *spec).expression, expected, atol=1e-4)


def test_what_replaces_the_expression_replaces_the_sum(model, present, others):
    set_to = {"edit": "expression", "units": {"jawOpen": 1.0}}
    weight = model.expression_from_units({"jawOpen": 1.0})
    found = apply(model, present, set_to, added(1.5), added(1.5)).expression
    np.testing.assert_allclose(found, 1.5 * weight, atol=1e-4)
    found = apply(model, present, added(1.5), {"edit": "neutral"}, added(1.2)).expression
    np.testing.assert_allclose(found, 1.2 * weight, atol=1e-4)
    half = {"edit": "mix", "from": "ann", "expression": 0.5}
    found = apply(model, present, added(1.5), half, added(1.5), others=others).expression
    mixed = 0.5 * (present.expression + others["ann"].expression)
    np.testing.assert_allclose(found, mixed + 1.5 * weight, atol=1e-4)


def test_no_edit_changes_nothing(model, present):
    assert changed(present, apply(model, present)) == set()


@pytest.mark.parametrize(
    ("entry", "groups"),
    [
        ({"edit": "relight", "light": "top"}, {"illumination"}),
        ({"edit": "pose", "yaw": 5}, {"rotation"}),
        ({"edit": "expression", "units": {"jawOpen": 1}}, {"expression"}),
        ({"edit": "neutral"}, {"expression"}),
        ({"edit": "identity", "coefficients": {"2": 1}}, {"shape"}),
        ({"edit": "skin", "tone": 1}, {"reflectance"}),
        ({"edit": "mix", "from": "ann", "pose": 1}, {"rotation"}),
        ({"edit": "mix", "from": "ann", "light": 0.5, "shape": 0.5}, {"illumination", "shape"}),
    ],
    ids=str,
)
def test_an_edit_touches_its_own_group_alone(model, present, others, entry, groups):
    assert changed(present, apply(model, present, entry, others=others)) == groups


def test_edits_apply_in_order(model, present):
    neutral, jaw = {"edit": "neutral"}, {"edit": "expression", "units": {"jawOpen": 1.0}, "relative": True}
    opened = apply(model, present, neutral, jaw)
    np.testing.assert_allclose(opened.expression, model.expression_from_units({"jawOpen": 1.0}), atol=1e-6)
    np.testing.assert_array_equal(apply(model, present, jaw, neutral).expression, np.zeros(64))


def test_units_replace_or_add(model, present):
    units = model.expression_from_units({"jawOpen": 0.5})
    entry = {"edit": "expression", "units": {"jawOpen": 0.5}}
    np.testing.assert_allclose(apply(model, present, entry).expression, units, atol=1e-6)
    added = apply(model, present, entry | {"relative": True})
    np.testing.assert_allclose(added.expression, present.expression + units, atol=1e-6)


def test_strength_is_the_share_of_the_new_value(model, present, others):
    for kind, group in (("relight", "illumination"), ("expression", "expression")):
        entry = {"edit": kind, "from": "bob"}
        now, new = getattr(present, group), getattr(others["bob"], group)
        half = getattr(apply(model, present, entry | {"strength": 0.5}, others=others), group)
        np.testing.assert_allclose(half, (now + new) / 2, atol=1e-6)
        np.testing.assert_array_equal(getattr(apply(model, present, entry, others=others), group), new)
        nothing = apply(model, present, entry | {"strength": 0}, others=others)
        assert changed(present, nothing) == set()


def test_angles_are_degrees_added_or_set(model, present):
    turned = apply(model, present, {"edit": "pose", "yaw": 10, "roll": -20})
    np.testing.assert_allclose(np.degrees(turned.rotation - present.rotation), [10, 0, -20], atol=1e-4)
    straight = apply(model, present, {"edit": "pose", "yaw": 0, "pitch": 0, "roll": 0, "relative": False})
    np.testing.assert_array_equal(straight.rotation, np.zeros(3))
    # What is not named stays, also where angles are set.
    np.testing.assert_array_equal(
        apply(model, present, {"edit": "pose", "yaw": 0, "relative": False}).rotation[1:],
        present.rotation[1:],
    )


def test_turns_add_up_to_a_limit(model, present):
    turned = apply(model, present, *[{"edit": "pose", "yaw": 60, "pitch": -60}] * 3)
    np.testing.assert_allclose(np.degrees(turned.rotation[:2]), [80, -80], atol=1e-4)
    # A face that is farther round already isn't turned back.
    profile = replace(present, rotation=np.array([1.5, 0, 0], np.float32))
    np.testing.assert_allclose(apply(model, profile, {"edit": "pose", "yaw": 5}).rotation[0], 1.5)


def test_shifts_add_up_to_a_limit(model, present):
    moved = apply(model, present, *[{"edit": "identity", "coefficients": {"0": 6, "127": -6}}] * 4)
    assert (moved.shape[0], moved.shape[127]) == (8, -8)
    np.testing.assert_array_equal(moved.shape[1:127], present.shape[1:127])


def skin_colour(model, parameters):
    return model.reflectance(parameters.reflectance)[model.painted_vertices].mean(axis=0)


def test_tone_makes_skin_lighter_and_darker_and_keeps_eyes(default_model, present):
    model = default_model
    now = skin_colour(model, present)
    lighter, darker = (apply(model, present, {"edit": "skin", "tone": tone}) for tone in (0.8, -0.8))
    assert (skin_colour(model, lighter) > now * 1.1).all()
    assert (skin_colour(model, darker) < now * 0.9).all()
    # Darker skin is warmer, not greyer: red keeps the largest share.
    ratio = skin_colour(model, darker) / now
    assert ratio[0] > ratio[1] > ratio[2]
    eyes = model.vertex_part == model.part_names.index("eye")
    before, after = (model.reflectance(one.reflectance)[eyes] for one in (present, darker))
    assert np.abs(after - before).max() < 0.02


def test_tone_ends_before_skin_becomes_a_hole(default_model, present):
    darkest = apply(default_model, present, *[{"edit": "skin", "tone": -3}] * 4)
    mean = default_model.mean_reflectance[default_model.painted_vertices].mean(axis=0) @ LUMINANCE
    assert skin_colour(default_model, darkest) @ LUMINANCE > 0.8 * TONES[0] * mean


@pytest.mark.parametrize("name", light_names())
def test_named_lights_keep_exposure_and_white_balance(model, present, name):
    warm = replace(present, illumination=present.illumination * np.array([1.4, 1, 0.6], np.float32))
    for before in (present, warm):
        after = apply(model, before, {"edit": "relight", "light": name})
        level = mean_irradiance(before.illumination)
        expected = LIGHTS[name].coefficients() * level
        np.testing.assert_allclose(after.illumination, expected, rtol=1e-4, atol=1e-6)
        brightness = mean_irradiance(LIGHTS[name].coefficients()) @ LUMINANCE
        assert abs(brightness - LIGHTS[name].exposure) < 0.02


def test_lights_come_from_where_they_are_called_after():
    towards = {"left": (-1, 0, 0), "right": (1, 0, 0), "top": (0, 1, 0), "below": (0, -1, 0)}
    for name, direction in towards.items():
        lit = irradiance(np.array([direction], float), LIGHTS[name].coefficients().astype(float))
        unlit = irradiance(-np.array([direction], float), LIGHTS[name].coefficients().astype(float))
        assert lit.min() > 3 * max(unlit.max(), 0.05), name


def test_a_lamp_is_the_clamped_cosine():
    coefficients = lamp_coefficients((0, 0, 2.0), (1.0, 2.0, 0.0))
    angles = np.linspace(0, np.pi, 181)
    normals = np.stack([np.sin(angles), np.zeros(181), np.cos(angles)], axis=1)
    cosine = np.maximum(np.cos(angles), 0)
    lit = irradiance(normals, coefficients)
    np.testing.assert_allclose(lit[:, 0], cosine, atol=0.1)
    np.testing.assert_allclose(lit[:, 1], 2 * lit[:, 0], rtol=1e-6)
    np.testing.assert_allclose(lit[0], [1.0625, 2.125, 0])


@pytest.mark.parametrize("direction", [(0.0, 0.0, -1.0), (-1.0, 0.0, -1.0), (0.0, 1.0, -1.0)])
def test_a_lamp_behind_the_head_makes_no_ripples(direction):
    angles = np.linspace(0, np.pi / 3, 31)
    normals = np.stack([np.sin(angles), np.zeros(31), np.cos(angles)], axis=1)
    for ambient in (0.3, 0.6):
        light = directional_light(direction, ambient=ambient).coefficients()
        lit = irradiance(normals, light.astype(np.float64))
        assert 0.1 < lit.min() < lit.max() < 2.5
        assert mean_irradiance(light).max() == pytest.approx(1, abs=0.02)
    dark = directional_light((0.0, 0.0, -1.0), ambient=0).coefficients()
    assert 0 < mean_irradiance(dark).max() < 0.5


def test_light_relative_to_darkness_is_not_nothing():
    assert mean_irradiance(relative_to(LIGHTS["soft"].coefficients(), np.zeros((9, 3)))).min() > 0.01


def refused(spec, model, others=None) -> str:
    with pytest.raises(EditError) as caught:
        parse_edits(spec, model, others)
    assert caught.value.http_status == 422
    assert caught.value.slug == "invalid-edit"
    return str(caught.value)


def test_unknown_names_list_the_known_ones(model, others):
    good = {"edit": "neutral"}
    message = refused([good, {"edit": "expression", "units": {"jawopen": 1}}], model)
    assert "edits[1]" in message
    assert "units" in message
    assert "'jawopen'" in message
    assert all(name in message for name in model.unit_names)
    without_rig = replace(model, unit_names=(), unit_coefficients=model.unit_coefficients[:0])
    message = refused([{"edit": "expression", "units": {"jawOpen": 1}}], without_rig)
    assert message.endswith("no unit 'jawOpen': there is none.")
    message = refused([{"edit": "relight", "light": "disco"}], model)
    assert "'light'" in message
    assert all(name in message for name in LIGHTS)
    message = refused([{"edit": "mix", "from": "eve", "shape": 1}], model, others)
    assert "ann, bob" in message
    message = refused([{"edit": "blur"}], model)
    assert all(
        kind in message for kind in ("relight", "pose", "expression", "neutral", "identity", "skin", "mix")
    )
    message = refused([{"edit": "pose", "jaw": 3}], model)
    assert "yaw, pitch, roll, relative" in message


@pytest.mark.parametrize(
    ("entry", "near"),
    [
        ({"edit": "expression", "units": {"jawopen": 1}}, "jawOpen"),
        ({"edit": "expression", "units": {"mouthSmile": 1}}, "mouthSmileLeft or mouthSmileRight"),
        ({"edit": "relight", "light": "Sunst"}, "sunset"),
        ({"edit": "relit"}, "relight"),
        ({"edit": "neutral", "strenght": 1}, "strength"),
    ],
)
def test_the_nearest_known_name_comes_first(model, entry, near):
    assert f": did you mean {near}? " in refused([entry], model)


def test_what_resembles_no_name_is_no_guess(model):
    for light in ("zzzzzz", "left" * 100, 3):
        assert "did you mean" not in refused([{"edit": "relight", "light": light}], model)


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"edit": "pose", "yaw": 61}, "yaw"),
        ({"edit": "pose", "pitch": float("nan")}, "pitch"),
        ({"edit": "pose", "roll": "10"}, "roll"),
        ({"edit": "pose", "yaw": True}, "yaw"),
        ({"edit": "pose", "yaw": 10**400}, "yaw"),
        ({"edit": "pose"}, "yaw"),
        ({"edit": "pose", "yaw": 1, "relative": "yes"}, "relative"),
        ({"edit": "relight"}, "direction"),
        ({"edit": "relight", "light": "left", "from": "ann"}, "from"),
        ({"edit": "relight", "light": "left", "ambient": 0.5}, "ambient"),
        ({"edit": "relight", "light": "left", "strength": 1.1}, "strength"),
        ({"edit": "relight", "light": ["left"]}, "light"),
        ({"edit": "relight", "direction": [0, 0, 0]}, "direction"),
        ({"edit": "relight", "direction": [0, 0]}, "direction"),
        ({"edit": "relight", "direction": [0, 0, 1], "colour": [0, 0, 0]}, "colour"),
        ({"edit": "relight", "direction": [0, 0, 1], "colour": [1, -1, 0]}, "colour[1]"),
        ({"edit": "relight", "direction": [0, 0, 1], "ambient": -0.1}, "ambient"),
        ({"edit": "relight", "coefficients": WHITE[:8]}, "coefficients"),
        ({"edit": "relight", "coefficients": [*WHITE[:8], [0, 0]]}, "coefficients[8]"),
        ({"edit": "relight", "coefficients": [*WHITE[:8], [0, 0, 21]]}, "coefficients[8][2]"),
        ({"edit": "expression", "units": {}}, "units"),
        ({"edit": "expression", "units": {"jawOpen": 1.6}}, "units.jawOpen"),
        ({"edit": "expression", "units": {"jawOpen": -0.1}}, "units.jawOpen"),
        ({"edit": "expression", "units": {"jawOpen": None}}, "units.jawOpen"),
        ({"edit": "expression", "coefficients": [0] * 63}, "coefficients"),
        ({"edit": "expression", "coefficients": [13] + [0] * 63}, "coefficients[0]"),
        ({"edit": "expression", "from": "ann", "relative": True}, "relative"),
        ({"edit": "neutral", "strength": -1}, "strength"),
        ({"edit": "identity"}, "coefficients"),
        ({"edit": "identity", "coefficients": {"128": 1}}, "coefficients"),
        ({"edit": "identity", "coefficients": {"-1": 1}}, "coefficients"),
        ({"edit": "identity", "coefficients": {"0": 7}}, "coefficients.0"),
        ({"edit": "identity", "coefficients": [1, 2]}, "coefficients"),
        ({"edit": "skin"}, "tone"),
        ({"edit": "skin", "tone": 4}, "tone"),
        ({"edit": "mix", "from": "ann"}, "shape"),
        ({"edit": "mix", "shape": 1}, "from"),
        ({"edit": "mix", "from": "ann", "shape": 2}, "shape"),
        ({"light": "left"}, "edit"),
        ({"edit": "x" * 5000}, "edit"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_bad_values_are_refused_by_name(model, others, entry, field):
    message = refused([{"edit": "neutral"}, entry], model, others)
    assert message.startswith("edits[1]")
    assert f"'{field}'" in message
    assert len(message) < 700


@pytest.mark.parametrize(
    "spec", ["neutral", {"edit": "neutral"}, 7, None, [["edit", "neutral"]], ["neutral"]]
)
def test_what_is_no_list_of_objects_is_refused(model, spec):
    with pytest.raises(EditError):
        parse_edits(spec, model)


def test_too_many_edits_are_refused(model):
    assert "64" in refused([{"edit": "neutral"}] * 65, model)


def test_edits_can_be_made_without_a_spec(model, present, others):
    edits = (
        Relight("left", 0.5),
        Pose(yaw=5.0),
        Expression((("jawOpen", 0.5),)),
        Neutral(0.5),
    )
    assert parse_edits(edits_to_data(edits), model) == edits
    mixed = parse_edits([{"edit": "mix", "from": "ann", "shape": 1}], model, others)[0]
    assert isinstance(mixed, Mix)
    assert mixed.other.parameters is others["ann"]

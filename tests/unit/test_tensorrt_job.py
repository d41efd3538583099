"""The conversion job: command, cache, refusal, publication, and what a kill leaves behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tensorrt_support import (
    CONFIG,
    MACHINE,
    ROOT,
    FakePrograms,
    StandIn,
    brighter,
    channels_swapped,
    noisy,
    small_network,
)
from tritonclient.grpc import model_config_pb2

from deploy.triton.convert import files, repository
from deploy.triton.convert.cache import Cache, Key
from deploy.triton.convert.errors import BuildError, ConversionError, PlanRefusedError
from deploy.triton.convert.job import Order, convert, load_faces
from deploy.triton.convert.network import digest
from deploy.triton.convert.plans import Machine, Precision, Shapes
from deploy.triton.convert.trtexec import Trtexec, build_command, read_answers, read_banner, run_command

FP16, FP32 = Precision.FP16, Precision.FP32
KEY_NAME = "fp16-f38a194039e7547b7a28dd0b4d46d847"


@pytest.fixture
def order(tmp_path):
    """A small network and random crops in a folder of their own."""
    (tmp_path / "model.onnx").write_bytes(small_network())
    crops = np.random.default_rng(0).integers(0, 256, (32, 240, 240, 3), np.uint8)
    np.savez(tmp_path / "faces.npz", crops=crops)
    return Order(
        onnx=tmp_path / "model.onnx",
        faces=tmp_path / "faces.npz",
        config=CONFIG,
        repository=tmp_path / "models" / "repository",
        cache=tmp_path / "models" / "cache",
        report=tmp_path / "models" / "conversion.json",
    )


@pytest.fixture
def programs(tmp_path):
    return FakePrograms(tmp_path / "bin")


def model_of(order):
    return order.repository / order.model


def state(order):
    """Return what Triton would see: each version's plan, all of them whole, and the configuration."""
    model = model_of(order)
    if not order.repository.exists() or not model.exists():
        return None
    seen = {}
    for version in repository.versions(model):
        record = json.loads((model / str(version) / "plan.json").read_text())
        seen[version] = files.sha256(model / str(version) / "model.plan")
        assert record["sha256"] == seen[version]
        assert (
            f'"onnx_sha256_{version}" value {{ string_value: "{record["network"]}"'
            in (model / "config.pbtxt").read_text()
        )
    assert [path.name for path in order.repository.iterdir()] == [order.model]
    return seen


def report_of(order):
    return json.loads(order.report.read_text())


# The commands.


@pytest.mark.parametrize("precision", Precision)
def test_the_command_that_builds(precision):
    command = build_command(Path("/t/trtexec"), Path("/w/n.onnx"), Path("/w/m.plan"), Shapes(), precision)
    assert command == [
        "/t/trtexec",
        "--onnx=/w/n.onnx",
        "--saveEngine=/w/m.plan",
        "--minShapes=crops:1x240x240x3",
        "--optShapes=crops:8x240x240x3",
        "--maxShapes=crops:32x240x240x3",
        "--stronglyTyped",
        *(["--noTF32"] if precision is FP32 else []),
        "--skipInference",
    ]


def test_the_command_that_runs():
    command = run_command(Path("trtexec"), Path("m.plan"), 5, Path("c.bin"), Path("a.json"))
    assert command[1:5] == [
        "--loadEngine=m.plan",
        "--shapes=crops:5x240x240x3",
        "--loadInputs=crops:c.bin",
        "--exportOutput=a.json",
    ]


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v101100] [b33] # trtexec --help", "101100-b33"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec", "8601"),
    ],
)
def test_the_version_is_read_with_its_build(line, version):
    assert read_banner(f"something\n{line}\n=== Model Options ===") == version
    with pytest.raises(BuildError, match="which TensorRT"):
        read_banner("usage: trtexec")


def test_answers_are_read_even_if_they_are_not_numbers():
    values = ", ".join(["-nan", "inf", "-inf", "nan"] + ["1.5e-05"] * 696)
    text = f'[\n  {{ "name" : "parameters"\n  , "dimensions" : "2x350"\n  , "values" : [ {values} ]\n  }}\n]'
    answers = read_answers(text, 2)
    assert answers.shape == (2, 350)
    assert np.isnan(answers[0, [0, 3]]).all()
    np.testing.assert_array_equal(answers[0, 1:3], [np.inf, -np.inf])
    assert answers[1, 349] == np.float32(1.5e-5)
    for wrong in ("", "[]", '[{"name": "other", "values": []}]', text.replace("1.5e-05, ", "", 1)):
        with pytest.raises(BuildError, match="no 'parameters' for 2 faces"):
            read_answers(wrong, 2)


# The cache.


def a_key(**changes):
    return replace(Key(MACHINE, "a" * 64, "b" * 64, FP16, Shapes()), **changes)


@pytest.mark.parametrize(
    "other",
    [
        a_key(machine=replace(MACHINE, gpu="NVIDIA A10")),
        a_key(machine=replace(MACHINE, capability="8.6")),
        a_key(machine=replace(MACHINE, tensorrt="101100-b34")),
        a_key(network="c" * 64),
        a_key(graph="c" * 64),
        a_key(precision=FP32),
        a_key(shapes=Shapes(1, 8, 64)),
        a_key(shapes=Shapes(1, 4, 32)),
    ],
)
def test_all_that_a_plan_depends_on_is_in_its_key(other, tmp_path):
    assert other.name != a_key().name
    (tmp_path / "plan").write_bytes(b"plan")
    cache = Cache(tmp_path / "cache")
    with cache.locked():
        cache.add(a_key(), tmp_path / "plan")
    assert cache.find(other) is None
    assert cache.find(a_key()).read_bytes() == b"plan"


def test_keys_are_the_same_in_every_process_and_fit_a_file_name():
    assert a_key().name == a_key(machine=Machine("NVIDIA L4", "8.9", "101100-b33")).name == KEY_NAME
    assert re.fullmatch(r"fp16-[0-9a-f]{32}", a_key(machine=replace(MACHINE, gpu="A/B: \n")).name)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda entry: (entry / "model.plan").write_bytes(b"plam"), id="flipped"),
        pytest.param(lambda entry: (entry / "model.plan").write_bytes(b""), id="emptied"),
        pytest.param(lambda entry: (entry / "model.plan").unlink(), id="plan gone"),
        pytest.param(lambda entry: (entry / "entry.json").unlink(), id="record gone"),
        pytest.param(lambda entry: (entry / "entry.json").write_text("{"), id="record cut"),
        pytest.param(lambda entry: (entry / "entry.json").write_text("[]"), id="record of another kind"),
        pytest.param(
            lambda entry: (entry / "entry.json").write_text(
                (entry / "entry.json").read_text().replace("NVIDIA L4", "NVIDIA L40")
            ),
            id="record of another key",
        ),
    ],
)
def test_a_damaged_entry_is_thrown_away(damage, tmp_path):
    (tmp_path / "plan").write_bytes(b"plan")
    cache = Cache(tmp_path / "cache")
    with cache.locked():
        cache.add(a_key(), tmp_path / "plan")
        damage(tmp_path / "cache" / a_key().name)
        assert cache.find(a_key()) is None
        assert not (tmp_path / "cache" / a_key().name).exists()
        cache.add(a_key(), tmp_path / "plan")
        assert cache.find(a_key()) is not None


# The job, with TensorRT played by ONNX Runtime.


def test_the_preferred_plan_goes_live_and_the_report_says_how_good_both_are(order):
    engine = StandIn()
    report = convert(order, engine)
    assert report == report_of(order)
    assert (report["status"], report["version"], report["precision"]) == ("published", 1, "fp16")
    assert report["machine"] == {"gpu": "NVIDIA L4", "capability": "8.9", "tensorrt": "101100-b33"}
    assert report["network"] == digest(order.onnx.read_bytes())
    assert [plan["precision"] for plan in report["plans"]] == ["fp16", "fp32"]
    for plan in report["plans"]:
        assert plan["accepted"]
        assert not plan["cached"]
        assert plan["batches"] == [1, 5, 8, 32]
    assert engine.builds == [FP16, FP32]
    assert state(order) == {1: report["plans"][0]["sha256"]}


def test_the_second_run_builds_and_publishes_nothing_but_compares_again(order):
    first = StandIn()
    convert(order, first)
    before = state(order)
    second = StandIn()
    report = convert(order, second)
    assert second.builds == []
    assert second.sizes == first.sizes
    assert all(plan["cached"] for plan in report["plans"])
    assert report["version"] == 1
    assert state(order) == before


def test_triton_can_read_the_configuration_that_is_published(order):
    for seed in (0, 1):
        order.onnx.write_bytes(small_network(seed))
        convert(order, StandIn())
    text = (model_of(order) / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    told = {name: value.string_value for name, value in config.parameters.items()}
    assert told == {
        "onnx_sha256": digest(small_network(1)),
        "onnx_sha256_1": digest(small_network(0)),
        "onnx_sha256_2": digest(small_network(1)),
    }
    assert config.platform == "tensorrt_plan"
    assert config.name == order.model
    assert config.max_batch_size == order.shapes.maximum
    # What Triton batches to, warms up with and captures as graphs, the plan can do.
    sizes = {
        *config.dynamic_batching.preferred_batch_size,
        *(sample.batch_size for sample in config.model_warmup),
        *(graph.batch_size for graph in config.optimization.cuda.graph_spec),
    }
    assert order.shapes.minimum <= min(sizes)
    assert max(sizes) <= order.shapes.maximum


def test_another_gpu_gets_its_own_plan(order):
    convert(order, StandIn())
    other = StandIn(machine=replace(MACHINE, gpu="NVIDIA A10"))
    convert(order, other)
    assert other.builds == [FP16, FP32]
    again = StandIn()
    convert(order, again)
    assert again.builds == []


def test_a_new_network_becomes_a_new_version_and_the_old_ones_stay(order):
    seen = []
    for seed in range(5):
        order.onnx.write_bytes(small_network(seed))
        assert convert(order, StandIn())["version"] == seed + 1
        seen.append(state(order)[seed + 1])
    assert state(order) == {3: seen[2], 4: seen[3], 5: seen[4]}
    config = (model_of(order) / "config.pbtxt").read_text()
    assert f'"onnx_sha256" value {{ string_value: "{digest(small_network(4))}"' in config
    assert f'"onnx_sha256_4" value {{ string_value: "{digest(small_network(3))}"' in config
    assert config.count('key: "onnx_sha256"') == 1
    rest = [line for line in config.splitlines() if '"onnx_sha256' not in line]
    assert rest == [line for line in CONFIG.read_text().splitlines() if '"onnx_sha256' not in line]


@pytest.mark.parametrize("spoil", [noisy, channels_swapped, brighter])
def test_a_plan_that_is_off_is_refused_and_the_other_precision_goes_live(order, spoil):
    # The small network is blunter than the shipped one: spoil it harder.
    engine = StandIn(spoil={FP16: (lambda content: noisy(content, 0.1)) if spoil is noisy else spoil})
    report = convert(order, engine)
    assert (report["status"], report["precision"]) == ("published", "fp32")
    assert not report["plans"][0]["accepted"]
    assert report["plans"][0]["offences"]
    record = json.loads((model_of(order) / "1" / "plan.json").read_text())
    assert record["precision"] == "fp32"
    # It isn't kept either: the next run builds it again.
    again = StandIn()
    assert convert(order, again)["precision"] == "fp16"
    assert again.builds == [FP16]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda theta: np.full_like(theta, np.nan), id="nan"),
        pytest.param(lambda theta: theta[::-1] if len(theta) > 1 else theta, id="faces mixed up in a batch"),
        pytest.param(lambda theta: theta if len(theta) < 32 else theta * 1.1, id="the largest batch"),
        pytest.param(lambda theta: theta[:, :100], id="too few numbers"),
    ],
)
def test_if_all_plans_are_off_nothing_goes_live(order, answer):
    convert(order, StandIn())
    before = state(order)
    order.onnx.write_bytes(small_network(1))
    with pytest.raises(PlanRefusedError, match="Triton keeps what it has") as caught:
        convert(order, StandIn(answer=answer))
    assert caught.value.exit_status == 3
    assert "fp16: batch of" in str(caught.value)
    assert "fp32: batch of" in str(caught.value)
    assert report_of(order)["status"] == "refused"
    assert state(order) == before


def test_a_cached_plan_that_is_off_is_built_again(order):
    convert(order, StandIn())
    (entry,) = order.cache.glob("fp16-*")
    # Damage that the checksum doesn't see: the entry was taken in so.
    spoilt = channels_swapped((entry / "model.plan").read_bytes())
    (entry / "model.plan").write_bytes(spoilt)
    record = json.loads((entry / "entry.json").read_text())
    (entry / "entry.json").write_text(json.dumps(record | {"sha256": files.sha256(entry / "model.plan")}))
    engine = StandIn()
    report = convert(order, engine)
    assert engine.builds == [FP16]
    assert report["precision"] == "fp16"


def test_a_cached_plan_that_does_not_run_is_built_again(order):
    convert(order, StandIn())
    (entry,) = order.cache.glob("fp32-*")
    (entry / "model.plan").write_bytes(b"of another driver")
    record = json.loads((entry / "entry.json").read_text())
    (entry / "entry.json").write_text(json.dumps(record | {"sha256": files.sha256(entry / "model.plan")}))
    engine = StandIn()
    convert(order, engine)
    assert engine.builds == [FP32]


def test_one_precision_that_cannot_be_built_does_not_hold_up_the_other(order):
    report = convert(order, StandIn(refuse=(FP16,)))
    assert report["precision"] == "fp32"
    assert report["plans"][0] == {"precision": "fp16", "accepted": False, "error": "no tactic"}
    with pytest.raises(BuildError, match="no tactic"):
        convert(replace(order, precisions=(FP16,)), StandIn(refuse=(FP16,)))
    assert report_of(order)["status"] == "failed"


def test_a_configuration_that_does_not_fit_is_refused_before_anything_is_built(order, tmp_path):
    engine = StandIn()
    text = CONFIG.read_text()
    for wrong, message in (
        (text.replace("tensorrt_plan", "onnxruntime_onnx"), "not for a TensorRT plan"),
        (text.replace("max_batch_size: 32", "max_batch_size: 64"), "has 64"),
        (text.replace("max_batch_size: 32", ""), "has none"),
    ):
        (tmp_path / "config.pbtxt").write_text(wrong)
        with pytest.raises(ConversionError, match=message):
            convert(replace(order, config=tmp_path / "config.pbtxt"), engine)
    assert engine.builds == []
    assert state(order) is None


def test_missing_and_unfit_files_are_told(order, tmp_path):
    with pytest.raises(ConversionError, match=r"nowhere\.onnx"):
        convert(replace(order, onnx=tmp_path / "nowhere.onnx"), StandIn())
    assert "nowhere.onnx" in report_of(order)["error"]
    np.savez(tmp_path / "few.npz", crops=np.zeros((31, 240, 240, 3), np.uint8))
    np.savez(tmp_path / "float.npz", crops=np.zeros((32, 240, 240, 3)))
    np.savez(tmp_path / "named.npz", pictures=np.zeros((32, 240, 240, 3), np.uint8))
    (tmp_path / "cut.npz").write_bytes(order.faces.read_bytes()[:100])
    for name, message in (("few", "too few"), ("float", "no uint8"), ("named", "read"), ("cut", "read")):
        with pytest.raises(ConversionError, match=message):
            load_faces(tmp_path / f"{name}.npz", Shapes())


# The repository, at every moment of a publication.


class Pulled(BaseException):
    """The plug."""


@pytest.mark.parametrize("first", [True, False])
def test_a_crash_at_any_step_leaves_the_old_state_or_the_new_one(order, tmp_path, monkeypatch, first):
    plans = {name: tmp_path / name for name in ("old", "new")}
    for name, path in plans.items():
        path.write_bytes(name.encode() * 1000)
    model = model_of(order)
    config = CONFIG.read_text()
    if not first:
        repository.publish(model, plans["old"], config, {"network": "1" * 64})
    before = state(order)
    outcomes = []
    for step in range(1, 100):
        left = step

        def cut(*args, original, **kwargs):
            nonlocal left
            left -= 1
            if left == 0:
                raise Pulled
            return original(*args, **kwargs)

        with monkeypatch.context() as patch:
            for owner, name in (
                (os, "fsync"),
                (Path, "rename"),
                (Path, "replace"),
                (Path, "mkdir"),
                (Path, "write_bytes"),
            ):
                original = getattr(owner, name)
                patch.setattr(
                    owner, name, lambda *a, _original=original, **k: cut(*a, original=_original, **k)
                )
            try:
                repository.publish(model, plans["new"], config, {"network": "2" * 64})
            except Pulled:
                outcomes.append(state(order) == before)
                continue
        break
    after = state(order)
    assert len(outcomes) >= 8
    assert True in outcomes
    new = files.sha256(plans["new"])
    assert after == ({1: new} if first else {1: files.sha256(plans["old"]), 2: new})
    assert not list(model.parent.parent.glob(".partial-*"))


def test_a_damaged_newest_version_is_replaced_by_a_newer_one(order):
    convert(order, StandIn())
    (model_of(order) / "1" / "model.plan").write_bytes(b"half")
    assert convert(order, StandIn())["version"] == 2


def test_folders_that_triton_ignores_are_no_versions(order):
    for name in ("0", "007", "new", "12", ".partial-3"):
        (model_of(order) / name).mkdir(parents=True)
    (model_of(order) / "99").touch()
    assert repository.versions(model_of(order)) == [12]
    assert convert(order, StandIn())["version"] == 13


# The whole job as a process, with a trtexec that can be started.


def command(order, programs, *more):
    return [
        *(sys.executable, "-m", "deploy.triton.convert"),
        *("--onnx", order.onnx, "--faces", order.faces, "--config", order.config),
        *("--output", order.report.parent, "--trtexec", programs.trtexec, "--nvidia-smi", programs.smi),
        *("--batches", "1", "2", "32"),
        *more,
    ]


def run(order, programs, *more):
    return subprocess.run(
        [str(part) for part in command(order, programs, *more)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_job_end_to_end(order, programs):
    first = run(order, programs)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("version=1 precision=fp16 cached=0 rotation_difference=")
    calls = programs.calls()
    assert [call[0].partition("=")[0] for call in calls] == ["--onnx", *["--loadEngine"] * 3] * 2
    assert "--minShapes=crops:1x240x240x3" in calls[0]
    assert "--maxShapes=crops:32x240x240x3" in calls[0]
    before = state(order)
    assert list(before) == [1]
    assert report_of(order)["machine"]["tensorrt"] == "101100-b33"

    # Again, for one precision: nothing is built, and the plan is compared again.
    again = run(order, programs, "--precision", "fp16")
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("version=1 precision=fp16 cached=1 ")
    assert [call[0].partition("=")[0] for call in programs.calls()[8:]] == ["--loadEngine"] * 3
    assert state(order) == before

    # And again with an engine that now answers 2% too much.
    programs.behave(gain=1.02)
    refused = run(order, programs, "--precision", "fp16")
    assert refused.returncode == 3
    assert refused.stdout == ""
    assert "error: No plan goes live" in refused.stderr
    assert "is off by" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert state(order) == before


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"fail": ["build"]}, "[E] Error[2]: no implementation found for this node"),
        ({"fail": ["run"]}, "[E] Error[2]: no implementation found for this node"),
        ({"nothing": True}, "wrote none"),
    ],
)
def test_a_failure_of_trtexec_is_told_in_its_own_words(order, programs, behaviour, message):
    programs.behave(**behaviour)
    result = run(order, programs, "--precision", "fp16")
    assert result.returncode == 1
    assert message in result.stderr
    assert "[I] bye" not in result.stderr
    assert report_of(order)["status"] == "failed"
    assert state(order) is None


def test_answers_that_are_no_numbers_are_refused(order, programs):
    programs.behave(nan=True)
    result = run(order, programs, "--precision", "fp32")
    assert result.returncode == 3
    assert "aren't finite" in result.stderr


def gone(pid):
    """Return whether a process has ended, or waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_build_that_takes_too_long_is_ended(order, programs):
    programs.behave(sleep=["build"])
    result = run(order, programs, "--precision", "fp16", "--timeout", "1")
    assert result.returncode == 1
    assert "took longer than 1 s" in result.stderr
    assert gone(int((programs.folder / "child.pid").read_text()))


def test_sigterm_ends_the_build_too(order, programs):
    programs.behave(sleep=["build"])
    process = subprocess.Popen(
        [str(part) for part in command(order, programs)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    child = programs.folder / "child.pid"
    for _ in range(600):
        if child.exists() and child.read_text():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    assert gone(int(child.read_text()))


@pytest.mark.parametrize("step", ["build", "run"])
def test_a_job_that_was_killed_leaves_the_repository_as_it_was(order, programs, step):
    convert(order, StandIn())
    before = state(order)
    order.onnx.write_bytes(small_network(1))
    programs.behave(kill_parent=[step])
    assert run(order, programs, "--precision", "fp16").returncode == -signal.SIGKILL
    assert state(order) == before
    programs.behave()
    result = run(order, programs, "--precision", "fp16")
    assert result.returncode == 0, result.stderr
    assert list(state(order)) == [1, 2]


def test_a_machine_without_gpu_or_tensorrt_is_told(order, programs, tmp_path):
    with pytest.raises(BuildError, match=r"nowhere can't be started"):
        Trtexec(tmp_path / "nowhere", smi=str(programs.smi)).machine()
    programs.smi.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    with pytest.raises(BuildError, match="status 9:\nNVIDIA-SMI has failed"):
        Trtexec(programs.trtexec, smi=str(programs.smi)).machine()
    programs.smi.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(BuildError, match="names no GPU"):
        Trtexec(programs.trtexec, smi=str(programs.smi)).machine()

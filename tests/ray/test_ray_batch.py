"""Inference and preparation on a real Ray cluster of three nodes, one of which is killed in mid-run."""

import json
import time
from pathlib import Path

import pytest
import ray
from batch_support import portrait
from PIL import Image
from ray_cluster import cluster, kill, working_pids

from inversefacenet.batch.local_engine import LocalEngine
from inversefacenet.batch.photos import photos_named
from inversefacenet.batch.ray_engine import RayEngine
from inversefacenet.batch.run import BatchRun
from inversefacenet.cli import main
from inversefacenet.errors import BackendError
from training.photo_filter import PhotoFilter
from training.photo_store import PhotoStore
from training.prepare import prepare

pytestmark = [
    pytest.mark.timeout(1800),
    # Ray's own code leaves sockets and files to the interpreter's end.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]

PHOTOS = 36


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Portraits, and here and there a file that no face comes of."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PHOTOS):
        path = folder / f"person{number // 4}" / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        if number % 9 == 4:
            path.write_bytes(b"no photo")
        elif number % 9 == 7:
            Image.new("RGB", (90, 90)).save(path)
        else:
            portrait(0.6 + 0.02 * number).save(path)
    return folder


@pytest.fixture(scope="module")
def ray_cluster_of_three():
    """A head and three nodes of a processor each, which tests may kill; the driver is connected."""
    with cluster(nodes=3) as (whole, nodes):
        engine = RayEngine(address=whole.address)
        yield engine, nodes
        ray.shutdown()


def run(folder, output, engine, after_chunk=lambda count: None):
    batch = BatchRun(photos_named([str(folder)]), output, chunk=2)
    done = []
    with batch.open() as chunks:
        for chunk in batch.work(engine, chunks):
            done.append(chunk.number)
            after_chunk(len(done))
        return done, batch.finish()


def kill_when_busy(node):
    """Kill a node as soon as it is at a task."""
    until = time.monotonic() + 300
    while not working_pids(node):
        assert time.monotonic() < until, "the node gets no work"
        time.sleep(0.01)
    kill(node)


def test_a_node_killed_in_mid_run_loses_and_doubles_nothing(folder, tmp_path, ray_cluster_of_three):
    engine, nodes = ray_cluster_of_three
    before = len([node for node in ray.nodes() if node["Alive"]])
    done, record = run(
        folder, tmp_path / "ray.jsonl", engine, lambda count: kill_when_busy(nodes[0]) if count == 3 else None
    )
    assert engine.repeated >= 1
    assert sorted(done) == list(range(PHOTOS // 2))
    until = time.monotonic() + 120  # the run may be over before the cluster misses the node
    while len([node for node in ray.nodes() if node["Alive"]]) != before - 1:
        assert time.monotonic() < until, "the node lives"
        time.sleep(0.2)
    rows = [json.loads(line) for line in (tmp_path / "ray.jsonl").read_text().splitlines()]
    names = [str(Path(row["photo"]).relative_to(folder)) for row in rows]
    assert names == sorted({*names})
    assert len(names) == PHOTOS
    assert record["problems"] == {"no-face": 4, "unsupported-image": 4}
    local = LocalEngine(2)
    run(folder, tmp_path / "local.jsonl", local)
    assert (tmp_path / "local.jsonl").read_bytes() == (tmp_path / "ray.jsonl").read_bytes()


def test_a_store_prepared_on_the_cluster_is_the_local_one(folder, tmp_path, ray_cluster_of_three):
    engine, nodes = ray_cluster_of_three
    repeated = engine.repeated

    class Interrupted:
        name = engine.name
        repeated = 0

        def run(self, work, tasks):
            for count, one in enumerate(engine.run(work, tasks)):
                if count == 2:
                    kill_when_busy(nodes[1])
                yield one

    for name, worker in (("ray", Interrupted()), ("local", LocalEngine(1))):
        prepare(folder, tmp_path / name, PhotoFilter(), worker, shard=3)
    assert engine.repeated > repeated
    files = sorted(path.name for path in (tmp_path / "local").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "ray").iterdir())
    for name in files:
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name
    assert len(PhotoStore.open(tmp_path / "ray")) == PHOTOS - 8


def test_the_command_works_on_the_nodes_that_are_left(folder, tmp_path, capsys, ray_cluster_of_three):
    output = tmp_path / "faces.jsonl"
    arguments = ["batch", str(folder / "person0"), "--output", str(output), "--engine", "ray", "--chunk", "2"]
    assert main(arguments) == 0
    assert " engine=ray repeated=" in capsys.readouterr().out
    assert len(output.read_text().splitlines()) == 4


def test_a_photo_that_kills_its_worker_is_given_up(ray_cluster_of_three):
    from functools import partial

    from batch_support import double_all_but

    engine, _ = ray_cluster_of_three
    done = dict(engine.run(partial(double_all_but, 4), [(1, 2), (4,), (6,)]))
    assert done == {(1, 2): [2, 4], (4,): None, (6,): [12]}


def test_what_the_work_raises_ends_the_run(ray_cluster_of_three):
    from batch_support import refuse

    engine, _ = ray_cluster_of_three
    with pytest.raises(ValueError, match="no 1"):
        list(engine.run(refuse, [1]))


def test_a_cluster_that_is_not_there_is_a_clear_error(ray_cluster_of_three, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for address in ("nowhere:abc", "127.0.0.1:1"):
        with pytest.raises(BackendError, match=f"No Ray cluster answers at {address}: "):
            RayEngine(address=address)

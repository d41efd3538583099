"""Engines: every task once, whatever dies."""

import builtins
import os
import sys
import time
from functools import partial

import pytest
from batch_support import (
    Inline,
    double,
    double_all_but,
    double_and_die_once,
    double_and_mark,
    refuse,
    threads,
)

from inversefacenet.batch.engines import ATTEMPTS, Engine, complete, make_engine
from inversefacenet.batch.local_engine import LocalEngine
from inversefacenet.errors import InputError, MissingDependencyError


def test_every_task_is_done_once():
    engine = LocalEngine(2)
    assert isinstance(engine, Engine)
    assert sorted(engine.run(double, range(7))) == [(n, 2 * n) for n in range(7)]
    assert engine.repeated == 0


def test_no_tasks_start_no_process():
    assert list(LocalEngine(2).run(double, [])) == []


def test_a_task_whose_worker_is_killed_is_done_again(tmp_path):
    engine = LocalEngine(2)
    assert sorted(engine.run(partial(double_and_die_once, tmp_path), range(6))) == [
        (n, 2 * n) for n in range(6)
    ]
    assert (tmp_path / "died").exists()
    assert engine.repeated == 1


def test_the_one_photo_that_kills_workers_fails_alone():
    engine = LocalEngine(2)
    done = complete(
        engine,
        partial(double_all_but, 4),
        [(0, 1), (3, 4, 5), (6,)],
        split=lambda task: [(number,) for number in task],
        crashed=lambda task: [f"crashed {task[0]}"],
    )
    assert sorted(done) == [((0, 1), [0, 2]), ((3, 4, 5), [6, "crashed 4", 10]), ((6,), [12])]
    assert engine.repeated == 2 * (ATTEMPTS - 1)


def test_what_the_work_raises_ends_the_run():
    with pytest.raises(ValueError, match="no 1") as caught:
        list(LocalEngine(1).run(refuse, [1]))
    assert "batch_support.py" in caught.value.__notes__[0]


def test_workers_compute_in_one_thread_and_the_setting_stays_theirs(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert list(LocalEngine(1).run(threads, [0])) == [(0, "1")]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_tasks_are_taken_as_workers_come_free_not_all_at_once():
    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield number

    run = LocalEngine(1).run(double, tasks())
    assert next(run) == (0, 0)
    assert len(taken) <= 3  # the one that was done, the one that is, and the next
    run.close()


def test_a_worker_has_its_next_task_while_results_are_written(tmp_path):
    run = LocalEngine(1).run(partial(double_and_mark, tmp_path), range(3))
    assert next(run) == (0, 0)
    # Nobody asks for the second result, yet the worker makes it, and begins with the third.
    for _ in range(500):
        if (tmp_path / "2").exists():
            break
        time.sleep(0.01)
    assert (tmp_path / "2").exists()
    assert list(run) == [(1, 2), (2, 4)]


def test_tasks_and_results_of_any_size_pass_each_other():
    megabytes = [bytes([number]) * 4_000_000 for number in range(4)]
    done = list(LocalEngine(1).run(double, megabytes))
    assert [len(result) for _, result in done] == [8_000_000] * 4


def test_what_waits_behind_a_task_that_kills_its_worker_is_not_blamed(tmp_path):
    engine = LocalEngine(1)
    done = dict(engine.run(partial(double_all_but, 0), [(n,) for n in range(4)]))
    assert done == {(0,): None, (1,): [2], (2,): [4], (3,): [6]}
    assert engine.repeated == ATTEMPTS - 1


def test_results_of_a_split_task_keep_their_order():
    class Contrary(Inline):
        first = True

        def run(self, work, tasks):
            if self.first:
                self.first = False
                return iter([(task, None) for task in tasks])
            return super().run(work, tasks)

    done = complete(
        Contrary(),
        partial(double_all_but, None),
        [(1, 2, 3)],
        lambda task: [(n,) for n in task],
        lambda _: [],
    )
    assert list(done) == [((1, 2, 3), [2, 4, 6])]


def test_unknown_engines_and_useless_addresses_are_clear_errors():
    with pytest.raises(InputError, match="no engine 'spark': choose one of local, ray"):
        make_engine("spark")
    with pytest.raises(InputError, match="add --engine ray"):
        make_engine("local", address="127.0.0.1:6379")


def test_a_missing_ray_is_named(monkeypatch):
    real = builtins.__import__

    def without_ray(name, *rest, **named):
        if name.split(".")[0] == "ray":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[ray\]"):
        make_engine("ray")

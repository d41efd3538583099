"""Stages tell a recorder of their own context, and nobody else."""

import threading

import pytest

from inversefacenet.stages import recording, stage


def test_without_a_recorder_nothing_is_told():
    with stage("detect"):
        pass


def test_a_recorder_is_told_each_stage_as_it_ends():
    told = []
    note = lambda name, began, seconds: told.append((name, began, seconds))  # noqa: E731
    with recording(note), stage("crop"), stage("render"):
        pass
    with stage("later"):
        pass
    assert [name for name, _, _ in told] == ["render", "crop"]
    inner, outer = told
    assert 0 <= inner[2] <= outer[2]
    assert outer[1] <= inner[1]


def test_a_stage_that_fails_is_told_too():
    told = []
    note = lambda *what: told.append(what[0])  # noqa: E731
    with pytest.raises(ValueError, match="broken"), recording(note), stage("decode"):
        raise ValueError("broken")
    assert told == ["decode"]


def test_recorders_of_other_threads_are_not_told():
    told = []

    def other():
        with stage("theirs"):
            pass

    with recording(lambda *what: told.append(what[0])):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert told == []

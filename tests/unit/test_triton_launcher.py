"""What the launcher of the real server does without one; `tests/triton_server` starts it."""

import asyncio
import socket
import subprocess
import sys
import threading

import pytest
from fake_triton import FakeTriton, serving

from scripts import triton_server


def test_another_python_is_refused_before_anything_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 14, 0, "final", 0))
    with pytest.raises(triton_server.ServerError, match=r"Python 3\.14.* 3\.11 or 3\.12"):
        triton_server.set_up(tmp_path / "environment")
    assert not (tmp_path / "environment").exists()


def test_an_environment_that_is_up_to_date_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / triton_server.STAMP).write_text(triton_server.CONSTRAINTS.read_text())
    monkeypatch.setattr(triton_server, "_call", None)
    triton_server.set_up(tmp_path)


def test_an_install_that_fails_is_told(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda arguments, **rest: calls.append(arguments) or subprocess.CompletedProcess(arguments, 1),
    )
    with pytest.raises(triton_server.ServerError, match=r"this failed: .*venv"):
        triton_server.set_up(tmp_path / "environment")
    assert len(calls) == 1


def test_without_an_environment_the_error_says_how_to_make_one(tmp_path):
    with pytest.raises(triton_server.ServerError, match="--setup"):
        triton_server.command(tmp_path, tmp_path, triton_server.Ports(1, 2, 3), "prefix")


def test_a_port_that_is_taken_is_told_by_name():
    with socket.socket() as taken:
        taken.bind((triton_server.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(triton_server.ServerError, match=rf"{port} .*--http-port"):
            triton_server.check_ports(triton_server.Ports(grpc=0, http=port, metrics=0))


def test_free_ports_differ():
    ports = triton_server.Ports.free()
    assert len({ports.grpc, ports.http, ports.metrics}) == 3


def test_grpc_is_told_from_other_listeners():
    async def grpc():
        async with serving(FakeTriton()) as url:
            return await asyncio.to_thread(triton_server.grpc_answers, int(url.rpartition(":")[2]))

    assert asyncio.run(grpc())
    with socket.socket() as other:
        other.bind((triton_server.HOST, 0))
        other.listen()

        def answer():
            with other.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert not triton_server.grpc_answers(other.getsockname()[1])
        thread.join()
    assert not triton_server.grpc_answers(triton_server.Ports.free().grpc)


def test_a_server_that_ends_before_it_is_ready_is_told():
    with (
        subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as server,
        pytest.raises(triton_server.ServerError, match="exit code 3"),
    ):
        triton_server.wait_ready(server, triton_server.Ports.free())


def test_what_a_killed_server_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(triton_server, "SHARED_MEMORY", tmp_path)
    for name in ("mine-1", "mine-2", "other"):
        (tmp_path / name).write_bytes(b"")
    triton_server.remove_shared_memory("mine-")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]

"""A Ray cluster on this machine: a head that does no work, and nodes of one processor each."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from ray.cluster_utils import Cluster

_STORE = 80 * 2**20  # bytes of shared memory of a node
_ATTEMPTS = 3


@contextmanager
def cluster(nodes):
    """Start a cluster on loopback addresses; gives it and its working nodes."""
    stop = threading.Event()
    helper = threading.Thread(target=_stand_in_for_dashboards, args=(stop,))
    helper.start()
    try:
        whole, working = _start(nodes)
    finally:
        stop.set()
        helper.join()
    try:
        yield whole, working
    finally:
        whole.shutdown()


def _start(nodes):
    # Ray gives a node a fixed time to start, which a busy machine may exceed.
    for attempt in range(_ATTEMPTS):
        try:
            head = {"num_cpus": 0, "no_monitor": True, "include_log_monitor": False} | _options(2)
            whole = Cluster(initialize_head=True, head_node_args=head)
            return whole, [whole.add_node(num_cpus=1, **_options(3 + number)) for number in range(nodes)]
        except Exception as error:
            if "timed out during startup" not in str(error) or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(5)
    raise AssertionError("unreachable")


def _stand_in_for_dashboards(stop):
    """Say for each new node that it has no dashboard, as its agent would: Ray waits for that 15 s only."""
    while not stop.wait(0.05):
        for _, parent, title in _processes():
            if parent == os.getpid() and (
                found := re.search(r"raylet .*--node_id=(\w+) .*--session_dir=(\S+)", title)
            ):
                for service in ("metrics_agent", "metrics_export", "dashboard_agent_listen"):
                    port = Path(found[2], f"{service}_port_{found[1]}")
                    if not port.exists():
                        port.with_suffix(".new").write_text("-1")
                        port.with_suffix(".new").replace(port)


def _free_port(address):
    with socket.socket() as listener:
        listener.bind((address, 0))
        return listener.getsockname()[1]


def _options(last):
    # Every node has an address of its own; Ray replaces 127.0.0.1 by one that others reach.
    address = f"127.0.0.{last}"
    return {
        "node_ip_address": address,
        "object_store_memory": _STORE,
        "include_dashboard": False,
        "runtime_env_agent_port": _free_port(address),
    }


def working_pids(node):
    """Return the processes of a node that are at a task now."""
    raylets = {info.process.pid for info in node.all_processes["raylet"]}
    return [
        pid for pid, parent, title in _processes() if parent in raylets and title.startswith("ray::_call")
    ]


def kill(node):
    """Kill all processes of a node at once, as when its machine loses power."""
    pids = {info.process.pid for infos in node.all_processes.values() for info in infos}
    while children := {pid for pid, parent, _ in _processes() if parent in pids} - pids:
        pids |= children
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # Its parent's death has ended it already.


def _processes():
    """Yield (pid, parent, title) of all processes."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
                title = (
                    (folder / "cmdline")
                    .read_bytes()
                    .rstrip(b"\0")
                    .replace(b"\0", b" ")
                    .decode("utf-8", "replace")
                )
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(folder.name), int(stat.rpartition(")")[2].split()[1]), title

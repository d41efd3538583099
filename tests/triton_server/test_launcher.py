"""`scripts/triton_server.py` as `make triton` runs it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from inversefacenet.backends.triton import TritonBackend


def test_it_serves_the_project_until_it_is_told_to_stop(root, crops, answers):
    ports = [argument for name in ("grpc", "http", "metrics") for argument in (f"--{name}-port", "0")]
    before = set(os.listdir("/dev/shm"))
    launcher = subprocess.Popen(
        [sys.executable, str(root / "scripts" / "triton_server.py"), *ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = next(line for line in launcher.stdout if line.startswith("grpc="))
        url = re.fullmatch(r"grpc=(\S+) http=\S+ metrics=\S+\n", line)[1]
        backend = TritonBackend(url)
        np.testing.assert_allclose(backend.infer(crops), answers, atol=1e-4)
        backend.close()
        launcher.send_signal(signal.SIGTERM)
        launcher.stdout.read()
        assert launcher.wait(40) == 0
    finally:
        launcher.terminate()
        launcher.wait(40)
        launcher.stdout.close()
    left = {name for name in set(os.listdir("/dev/shm")) - before if name.startswith("inversefacenet-triton")}
    assert not left
    assert not Path(f"/proc/{launcher.pid}").exists()

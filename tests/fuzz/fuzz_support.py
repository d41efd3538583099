"""Sends bad input to a running gateway and looks at what becomes of both."""

import statistics
from pathlib import Path

from benchmarks.load.loops import Plan
from benchmarks.load.processes import family, resident_bytes
from inversefacenet.errors import InverseFaceNetError

FAILED = Path(__file__).resolve().parents[2] / "out" / "fuzz"
CALLERS = 4
BATCH = 40


def answers_of_problems():
    """Return the codes of problems that are the caller's own: none of them is a 5xx."""
    import services.gateway.errors
    import services.gateway.grpc_requests  # noqa: F401

    classes, found = [InverseFaceNetError], set()
    while classes:
        one = classes.pop()
        classes += one.__subclasses__()
        if one.http_status < 500:
            found.add(one.slug)
    # Those of the framework: an address or a method that doesn't exist, a message that gRPC itself refuses.
    return found | {"method-not-allowed", "not-found", "invalid-request"}


class Fuzzer:
    """Sends inputs to a gateway and looks at what becomes of it."""

    def __init__(self, gateway, client, tally):
        self.gateway = gateway
        self._client = client
        self._tally = tally
        self._fine = answers_of_problems() | {"ok"}
        self._restarts = gateway.metric("worker_restarts_total")
        self._processes = len(family(gateway.pid))
        self.memory = []
        self.codes = {}

    def send(self, requests):
        """Send requests with names that differ; returns those that were answered as they mustn't be."""
        wrong = {}
        requests = list(requests)
        by_name = {request.name: request for request in requests}
        assert len(by_name) == len(requests)
        for first in range(0, len(requests), BATCH):
            batch = requests[first : first + BATCH]
            for sample in self._run(batch):
                self.codes[sample.code] = self.codes.get(sample.code, 0) + 1
                if not self.fine(sample):
                    wrong[sample.name] = sample.code
                    self.keep(by_name[sample.name], sample.code)
            self.memory.append(resident_bytes(family(self.gateway.pid)))
            self.check()
        self._tally["cases"] += len(requests)
        self._tally["failures"] += len(wrong)
        return wrong

    def fine(self, sample):
        return sample.code in self._fine or sample.code.endswith("-answers")

    def _run(self, batch):
        plan = Plan(
            tuple(batch),
            seconds=300.0,
            callers=CALLERS,
            count=len(batch),
            rest=self.gateway.rest,
            grpc=self.gateway.grpc,
        )
        samples = self._client.run(plan).samples
        assert len(samples) == len(batch)
        return samples

    def check(self):
        """Look at the service: it is ready, and all its processes live."""
        self.gateway.get("/v2/health/ready")
        assert self.gateway.metric("worker_restarts_total") == self._restarts
        assert len(family(self.gateway.pid)) == self._processes

    def drift(self):
        """Return by how many per cent memory grew from the second quarter of the batches to the last."""
        quarter = len(self.memory) // 4
        before, after = self.memory[quarter : 2 * quarter], self.memory[-quarter:]
        return 100 * (statistics.median(after) / statistics.median(before) - 1)

    @staticmethod
    def keep(request, code):
        """Write an input that failed; all of them are made up, none is anybody's photo."""
        FAILED.mkdir(parents=True, exist_ok=True)
        name = "".join(letter if letter.isalnum() else "-" for letter in f"{code}-{request.name}")[:120]
        (FAILED / name).write_bytes(request.body or b"".join(request.stream))

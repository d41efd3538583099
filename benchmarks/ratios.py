"""What of a run's results can be compared with another run's: ratios within the run."""

from __future__ import annotations

from typing import Final

from benchmarks.baseline import Ratio
from benchmarks.peers import HOG, OURS, OURS_DECODING
from benchmarks.report import Results
from benchmarks.service import GRPC, IN_PROCESS, REST
from benchmarks.timing import Timing

_PROCESS_NOISE: Final = 0.15
_MEMORY_NOISE: Final = 0.03


def ratios_of(results: Results) -> dict[str, Ratio]:
    """Return all ratios of a run by name."""
    found = {
        f"stage {row.stage}": Ratio(row.ratio, row.timing.spread + row.floor_timing.spread)
        for row in results.stages
    }
    if results.photo is not None:
        found["photo / sum of its stages"] = Ratio(results.photo.ratio, results.photo.photo.spread)
    if results.peers:
        hog = results.peers[HOG]
        for name in (OURS, OURS_DECODING):
            found[f"{name} / HOG"] = _over(results.peers[name], hog)
    if results.service is not None:
        times = results.service.times
        for name in (REST, GRPC):
            found[f"photo over {name} / in process"] = _over(times[name], times[IN_PROCESS])
        found["memory of a worker, MB"] = Ratio(results.service.worker_mb, _MEMORY_NOISE)
    if results.start_up is not None:
        found["cold start / import of libraries"] = Ratio(results.start_up.ratio, _PROCESS_NOISE)
    if results.batch is not None:
        found["batch efficiency"] = Ratio(results.batch.efficiency, higher_is_better=True)
    if results.recall is not None:
        found["recall of detection"] = Ratio(results.recall, higher_is_better=True)
    if results.corpus_per_core is not None and results.peers:
        # Faces in the time of one HOG search: both are one core's work.
        faces = results.corpus_per_core * results.peers[HOG].median
        found["corpus, faces / HOG"] = Ratio(faces, results.peers[HOG].spread, higher_is_better=True)
    return found


def _over(own: Timing, other: Timing) -> Ratio:
    return Ratio(own.median / other.median, own.spread + other.spread)

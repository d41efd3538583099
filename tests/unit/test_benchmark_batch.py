"""Rates of many photos: only the time in which all workers work counts."""

from collections.abc import Iterator

import pytest

from benchmarks.batch import Rates, main, steady_rate
from inversefacenet.batch.run import Chunk


class Workers:
    """Finishes a chunk of four photos every so often; the first ones take long, as starting does."""

    def __init__(self, seconds: float, starting: int) -> None:
        self.now = 0.0
        self._seconds, self._starting = seconds, starting

    def chunks(self) -> Iterator[Chunk]:
        for number in range(1000):
            self.now += 100 if number < self._starting else self._seconds
            yield Chunk(number, ("a", "b", "c", "d"))


@pytest.mark.parametrize("workers", [1, 3])
def test_the_start_is_not_counted(workers: int) -> None:
    fake = Workers(0.5, starting=2 * workers)
    assert steady_rate(fake.chunks(), workers, 10, lambda: fake.now) == pytest.approx(8.0)


def test_each_worker_is_heard_however_slow_it_is() -> None:
    fake = Workers(5.0, starting=0)
    assert steady_rate(fake.chunks(), 4, 1, lambda: fake.now) == pytest.approx(0.8)
    assert fake.now == 5.0 * (2 * 4 + 4)


def test_efficiency_price_and_line() -> None:
    rates = Rates((10.0, 12.0, 10.0), (19.0, 24.0, 20.0), 2)
    assert rates.efficiency == pytest.approx(1.0)
    # 1e6 photos / 20 a second * 2 cores / 3600 s = 27.8 core-hours.
    assert rates.price_of_a_million(0.04) == pytest.approx(1.111, abs=1e-3)
    assert rates.summary(0.04) == (
        "batch_one=10.00 batch_all=20.00 cores=2 batch_efficiency=1.000 price_per_million=1.11"
    )


def test_useless_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--seconds", "0"])
    assert "--seconds" in capsys.readouterr().err

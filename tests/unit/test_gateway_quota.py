"""The token bucket: exact waits, bursts, and what is given back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inversefacenet.errors import InputError
from services.gateway.errors import QuotaError
from services.gateway.quota import TokenBucket


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def wait_of(bucket, photos=1):
    with pytest.raises(QuotaError, match="photos per minute") as caught:
        bucket.take(photos)
    assert caught.value.http_status == 429
    return caught.value.retry_after


def test_burst_then_the_rate():
    clock = Clock()
    bucket = TokenBucket(30, 3, clock)
    for _ in range(3):
        bucket.take(1)
    assert wait_of(bucket) == pytest.approx(2)
    clock.now += 1.5
    assert wait_of(bucket) == pytest.approx(0.5)
    clock.now += 0.5
    bucket.take(1)
    assert wait_of(bucket, 2) == pytest.approx(4)


@pytest.mark.parametrize(("per_minute", "capacity"), [(60, 60), (0.25, 1), (1.5, 2)])
def test_burst_is_a_minutes_worth_unless_stated(per_minute, capacity):
    bucket = TokenBucket(per_minute, None, Clock())
    bucket.take(capacity)
    assert wait_of(bucket) == pytest.approx(60 / per_minute)


def test_all_photos_of_a_request_or_none():
    clock = Clock()
    bucket = TokenBucket(60, 4, clock)
    bucket.take(2)
    assert wait_of(bucket, 4) == pytest.approx(2)
    bucket.take(2)


def test_more_than_the_bucket_ever_holds_is_told_as_such():
    bucket = TokenBucket(60, 4, Clock())
    with pytest.raises(InputError, match="5 photos; with this key it may hold at most 4"):
        bucket.take(5)
    bucket.take(4)


def test_a_pause_fills_no_more_than_the_burst():
    clock = Clock()
    bucket = TokenBucket(60, 2, clock)
    clock.now += 3600
    bucket.take(2)
    assert wait_of(bucket) == pytest.approx(1)
    bucket.put_back(100)
    bucket.take(2)
    assert wait_of(bucket) == pytest.approx(1)


@given(
    per_minute=st.floats(0.01, 1e6),
    burst=st.integers(1, 10_000),
    requests=st.lists(st.tuples(st.floats(0, 100), st.integers(1, 10_000)), max_size=30),
)
def test_who_waits_as_told_is_served_and_nobody_gets_more_than_the_rate(per_minute, burst, requests):
    clock = Clock()
    bucket = TokenBucket(per_minute, burst, clock)
    served = 0
    for pause, photos in requests:
        clock.now += pause
        wanted = min(photos, burst)
        try:
            bucket.take(wanted)
        except QuotaError as error:
            clock.now += max(error.retry_after, 0)
            bucket.take(wanted)
        served += wanted
        allowed = burst + (clock.now - 1000) * per_minute / 60
        assert served <= allowed * (1 + 1e-9) + 1e-3

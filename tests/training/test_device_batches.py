from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from inversefacenet.sampling import DISTRIBUTIONS
from training import device_batches as module
from training import torch_renderer
from training.corpus import RenderedCorpus, augmentation_named
from training.device_batches import Draws, device_batches


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    monkeypatch.setattr(module, "FACES_AT_ONCE", 6)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def corpus(synthetic_model):
    return RenderedCorpus(
        model=synthetic_model,
        distribution=DISTRIBUTIONS["natural"],
        augmentation=None,
        batch_size=2,
        batches=7,
        seed=3,
        device=torch.device("cpu"),
    )


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_batches_are_those_of_the_corpus(corpus):
    batches = list(device_batches(corpus, 1, range(1), 0, 0))
    assert len(batches) == 7
    for index, (crops, theta) in enumerate(batches):
        expected, truth = corpus[index]
        assert torch.equal(theta, truth)
        # Sums of several faces are rounded otherwise, so that a pixel may fall to the next level or triangle.
        assert float((crops.float() - expected.float()).abs().gt(1).float().mean()) < 1e-3


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("start", [0, 2, 3, 6, 7])
def test_a_run_that_resumes_sees_what_it_would_have_seen(corpus, start, workers):
    augmented = replace(corpus, augmentation=augmentation_named("photographic"))
    whole = list(device_batches(augmented, 1, range(1), 0, 0))
    rest = list(device_batches(augmented, 1, range(1), start, workers))
    assert len(rest) == 7 - start
    assert all(same(a, b) for a, b in zip(whole[start:], rest, strict=True))
    assert not same(whole[0], corpus[0])


def test_processes_share_what_one_would_train_on(corpus):
    parts = replace(corpus, batches=8, augmentation=augmentation_named("photographic"))
    alone = list(device_batches(parts, 2, range(2), 0, 0))
    shares = [list(device_batches(parts, 2, range(own, own + 1), 0, 0)) for own in range(2)]
    assert len(alone) == 4
    for whole, *shared in zip(alone, *shares, strict=True):
        assert same(whole, [torch.cat(tensors) for tensors in zip(*shared, strict=True)])


def test_a_chunk_holds_what_fills_the_device(corpus):
    assert [Draws(replace(corpus, batch_size=n), 1, range(1)).size for n in (1, 2, 4, 9)] == [6, 3, 1, 1]
    assert len(Draws(corpus, 1, range(1))) == 3


class Started(TorchDispatchMode):
    """Counts what a GPU would have to start, and what its host would have to wait for."""

    VIEWS = frozenset(
        ("view", "t", "permute", "transpose", "expand", "select", "slice", "unsqueeze", "detach")
    )
    WAITS = frozenset(("_local_scalar_dense", "nonzero", "unique_consecutive", "masked_select", "equal"))

    def __init__(self):
        super().__init__()
        self.kernels = self.waits = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        self.kernels += name not in self.VIEWS
        self.waits += name in self.WAITS
        return function(*arguments, **(options or {}))


def test_rendering_many_batches_at_once_starts_and_waits_less(corpus, monkeypatch):
    monkeypatch.setattr(torch_renderer, "_is_compiled", lambda points: False)
    augmented = replace(corpus, augmentation=augmentation_named("photographic"), batches=16, compiled=False)
    monkeypatch.setattr(module, "FACES_AT_ONCE", 32)
    with Started() as alone:
        _ = [augmented[index] for index in range(16)]
    with Started() as together:
        list(device_batches(augmented, 1, range(1), 0, 0))
    assert together.kernels < alone.kernels / 4
    assert together.waits < alone.waits / 5

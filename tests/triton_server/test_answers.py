"""The answers of a real Triton server: equal to the embedded network's, put into batches, by version."""

import asyncio

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from server import NETWORK, Repository, TritonServer

from inversefacenet.backends.triton import TritonBackend
from inversefacenet.backends.triton_errors import Cause, TritonError
from inversefacenet.errors import BackendError


def shifted_network(path, by):
    """Write the network with something added to all that it answers."""
    model = onnx.load(NETWORK)
    (output,) = model.graph.output
    last = next(node for node in model.graph.node if output.name in node.output)
    last.output[:] = ["before"]
    model.graph.initializer.append(helper.make_tensor("by", TensorProto.FLOAT, [1], [by]))
    model.graph.node.append(helper.make_node("Add", ["before", "by"], [output.name]))
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("shared_memory", [False, True])
def test_answers_are_those_of_the_embedded_network(steady, crops, answers, embedded, shared_memory):
    backend = TritonBackend(steady.url, shared_memory=shared_memory)
    try:
        assert backend.digest == ""
        # More crops than the model takes at once, one alone, none, and some that lie apart in memory.
        np.testing.assert_allclose(backend.infer(crops), answers, atol=1e-4)
        np.testing.assert_allclose(backend.infer(crops[3:4]), answers[3:4], atol=1e-4)
        np.testing.assert_allclose(
            backend.infer(crops[::7, :, ::-1]), embedded.infer(crops[::7, :, ::-1]), atol=1e-4
        )
        assert backend.infer(crops[:0]).shape == (0, 350)
        got = backend.infer(crops[:2])
        got += 1
        assert (backend.digest, backend.version) == (embedded.digest, "1")
        assert len(steady.shared_memory()) == shared_memory
    finally:
        backend.close()
    assert steady.shared_memory() == []


@pytest.mark.parametrize("shared_memory", [False, True])
def test_concurrent_callers_share_batches_and_get_their_own_answers(steady, crops, answers, shared_memory):
    async def main():
        backend = TritonBackend(steady.url, shared_memory=shared_memory)

        async def caller(number):
            for turn in range(8):
                index = (number + 5 * turn) % len(crops)
                (got,) = await backend.infer_async(crops[index : index + 1])
                np.testing.assert_allclose(got, answers[index], atol=1e-4)

        await asyncio.gather(*(caller(number) for number in range(32)))
        await backend.close_async()

    crops_before, batches_before = steady.executions()
    asyncio.run(main())
    crops_after, batches_after = steady.executions()
    assert crops_after - crops_before == 32 * 8
    assert (crops_after - crops_before) / (batches_after - batches_before) >= 4


def test_the_server_describes_the_network(steady, embedded):
    async def main():
        backend = TritonBackend(steady.url)
        served = await backend.describe()
        await backend.close_async()
        return served

    served = asyncio.run(main())
    assert (served.name, served.version, served.engine) == ("inversefacenet", "1", "python")
    assert (served.input_name, served.output_name, served.max_batch_size) == ("crops", "parameters", 32)
    assert served.digest("1") == embedded.digest


def test_a_new_version_takes_over_and_the_old_one_stays_to_be_asked_for(tmp_path, crops, answers, embedded):
    repository = Repository(tmp_path / "models")
    with TritonServer(tmp_path, repository, explicit=True) as server:
        newest, first = TritonBackend(server.url), TritonBackend(server.url, version="1")
        second = TritonBackend(server.url, version="2")
        np.testing.assert_allclose(newest.infer(crops[:4]), answers[:4], atol=1e-4)
        with pytest.raises(TritonError, match="version 2 is not found") as refused:
            second.infer(crops[:4])
        assert refused.value.cause == Cause.MISSING

        repository.add_version(2, shifted_network(tmp_path / "shifted.onnx", 0.5))
        server.load()
        for backend, shift, version in ((newest, 0.5, "2"), (first, 0, "1"), (second, 0.5, "2")):
            np.testing.assert_allclose(backend.infer(crops[:4]), answers[:4] + shift, atol=1e-4)
            assert backend.version == version
            assert (backend.digest == embedded.digest) == (version == "1")

        repository.remove_version(2)
        server.load()
        np.testing.assert_allclose(newest.infer(crops[:4]), answers[:4], atol=1e-4)
        assert (newest.version, newest.digest) == ("1", embedded.digest)
        with pytest.raises(BackendError, match="version 2"):
            second.infer(crops[:4])
        for backend in (newest, first, second):
            backend.close()


def test_a_model_that_was_unloaded_is_an_error_until_it_is_back(start, crops, answers):
    server = start(explicit=True)
    backend = TritonBackend(server.url)
    backend.infer(crops[:1])
    server.unload()
    for _ in range(2):
        with pytest.raises(TritonError, match="load it") as refused:
            backend.infer(crops[:1])
        assert refused.value.cause == Cause.MISSING
    server.load()
    np.testing.assert_allclose(backend.infer(crops[:1]), answers[:1], atol=1e-4)
    backend.close()


def test_a_file_that_is_not_the_promised_one_is_not_served(tmp_path):
    repository = Repository(
        tmp_path / "models",
        change=lambda config: config.parameters["onnx_sha256_1"].__setattr__("string_value", "ab" * 32),
    )
    server = TritonServer(tmp_path, repository)
    with pytest.raises(Exception, match="exit code"):
        server.start()
    assert "has the digest" in server.log.read_text()


def test_another_model_of_that_name_is_refused(start):
    def change(config):
        del config.input[0].dims[:]
        config.input[0].dims.extend([3, 240, 240])
        del config.model_warmup[:]

    backend = TritonBackend(start(change=change).url)
    with pytest.raises(TritonError, match="not the network") as refused:
        backend.infer(np.zeros((1, 240, 240, 3), np.uint8))
    assert refused.value.cause == Cause.REFUSED
    backend.close()

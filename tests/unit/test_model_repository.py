import hashlib

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from inversefacenet.networks import reference_path

CONFIGURATIONS = {
    "config.pbtxt": "tensorrt_plan",
    "configs/onnxruntime.pbtxt": "onnxruntime",
    "configs/python.pbtxt": "python",
}


@pytest.fixture(scope="module")
def folder(root):
    return root / "model_repository" / "inversefacenet"


@pytest.fixture(scope="module")
def configurations(folder):
    return {
        name: text_format.Parse((folder / name).read_text(), model_config_pb2.ModelConfig())
        for name in CONFIGURATIONS
    }


def tensors(config):
    return [
        [(t.name, model_config_pb2.DataType.Name(t.data_type), tuple(t.dims)) for t in side]
        for side in (config.input, config.output)
    ]


def test_each_configuration_is_listed_here(folder):
    found = {str(path.relative_to(folder)) for path in folder.rglob("*.pbtxt")}
    assert found == set(CONFIGURATIONS)


@pytest.mark.parametrize(("name", "engine"), CONFIGURATIONS.items())
def test_each_configuration_is_for_its_engine(configurations, name, engine):
    config = configurations[name]
    assert engine in {config.platform, config.backend}
    kinds = {group.kind for group in config.instance_group}
    on_gpu = engine == "tensorrt_plan"
    assert kinds == {config.instance_group[0].KIND_GPU if on_gpu else config.instance_group[0].KIND_CPU}
    assert config.optimization.cuda.graphs == on_gpu


def test_they_agree_with_each_other(configurations):
    for config in configurations.values():
        default = configurations["config.pbtxt"]
        assert config.name == default.name == "inversefacenet"
        assert tensors(config) == tensors(default)
        assert config.max_batch_size == default.max_batch_size
        assert config.version_policy == default.version_policy
        assert config.version_policy.latest.num_versions == 2


def test_they_agree_with_the_graph(configurations, folder):
    graph = onnx.load(folder / reference_path().parent.name / "model.onnx").graph
    names = {onnx.TensorProto.UINT8: "TYPE_UINT8", onnx.TensorProto.FLOAT: "TYPE_FP32"}
    expected = []
    for side in (graph.input, graph.output):
        kinds = [value.type.tensor_type for value in side]
        # The first dimension is the batch's, which configurations leave out.
        shapes = [tuple(d.dim_value for d in kind.shape.dim)[1:] for kind in kinds]
        expected.append(
            [(v.name, names[k.elem_type], s) for v, k, s in zip(side, kinds, shapes, strict=True)]
        )
    assert tensors(configurations["config.pbtxt"]) == expected


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_they_carry_the_digest_of_the_network(configurations, folder, name):
    found = hashlib.sha256(reference_path().read_bytes()).hexdigest()
    told = configurations[name].parameters["onnx_sha256"].string_value
    assert told == found, (
        f"the network has changed: sed -i s/{told}/{found}/ model_repository/inversefacenet/{name}"
    )


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_requests_are_put_together_and_refused_in_time(configurations, name):
    batching = configurations[name].dynamic_batching
    assert all(size <= configurations[name].max_batch_size for size in batching.preferred_batch_size)
    assert 0 < batching.max_queue_delay_microseconds <= 2000
    policy = batching.default_queue_policy
    assert policy.max_queue_size > 0
    assert policy.allow_timeout_override
    assert policy.timeout_action == policy.REJECT
    assert policy.default_timeout_microseconds > 0


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_warm_up_sends_crops(configurations, name):
    config = configurations[name]
    assert config.model_warmup
    for sample in config.model_warmup:
        assert sample.batch_size <= config.max_batch_size
        (crops,) = sample.inputs.items()
        assert (crops[0], tuple(crops[1].dims)) == (config.input[0].name, tuple(config.input[0].dims))
        assert crops[1].data_type == config.input[0].data_type


def test_each_batch_has_a_cuda_graph(configurations):
    specs = configurations["config.pbtxt"].optimization.cuda.graph_spec
    covered = []
    for spec in specs:
        lower = spec.graph_lower_bound.batch_size or spec.batch_size
        covered += range(lower, spec.batch_size + 1)
        assert {tuple(shape.dim) for shape in spec.input.values()} == {(240, 240, 3)}
    assert covered == list(range(1, 33))

import pytest
import torch
from torch import nn

from inversefacenet.errors import InputError
from inversefacenet.parameters import PARAMETER_COUNT
from training.resnet import BLOCKS, ResNet


def torchvision_shapes():
    """What torchvision's resnet101(num_classes=350).state_dict() holds, written out from its layout."""

    def norm(name, width):
        yield from (
            (f"{name}.{part}", (width,)) for part in ("weight", "bias", "running_mean", "running_var")
        )
        yield f"{name}.num_batches_tracked", ()

    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm("bn1", 64)
    inputs = 64
    for stage, (count, width) in enumerate([(3, 64), (4, 128), (23, 256), (3, 512)], start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            yield f"{name}.conv1.weight", (width, inputs, 1, 1)
            yield from norm(f"{name}.bn1", width)
            yield f"{name}.conv2.weight", (width, width, 3, 3)
            yield from norm(f"{name}.bn2", width)
            yield f"{name}.conv3.weight", (4 * width, width, 1, 1)
            yield from norm(f"{name}.bn3", 4 * width)
            if block == 0:
                yield f"{name}.downsample.0.weight", (4 * width, inputs, 1, 1)
                yield from norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    yield "fc.weight", (350, 2048)
    yield "fc.bias", (350,)


@pytest.fixture
def shallow():
    return ResNet(blocks=(1, 1, 1, 1))


def test_names_and_shapes_are_torchvisions():
    with torch.device("meta"):
        net = ResNet()
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == dict(
        torchvision_shapes()
    )
    # torchvision's has 44,549,160 with 1000 classes.
    assert sum(value.numel() for value in net.parameters()) == 44_549_160 - 650 * 2049
    layers = [m for n, m in net.named_modules() if "downsample" not in n]
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in layers) == 101
    assert BLOCKS == (3, 4, 23, 3)


def test_feature_maps_have_60_30_15_and_8_pixels(shallow):
    sizes = []
    for stage in range(1, 5):
        shallow.get_submodule(f"layer{stage}").register_forward_hook(
            lambda layer, given, answer: sizes.append(tuple(answer.shape[1:]))
        )
    assert shallow(torch.zeros(2, 3, 240, 240)).shape == (2, PARAMETER_COUNT)
    assert sizes == [(256, 60, 60), (512, 30, 30), (1024, 15, 15), (2048, 8, 8)]


def test_the_3x3_convolution_halves_the_resolution(shallow):
    block = shallow.layer2[0]
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))
    assert block.downsample[0].stride == (2, 2)
    assert ResNet(blocks=(2, 1, 1, 1)).layer1[1].downsample is None


def test_a_block_adds_its_shortcut(shallow):
    block = ResNet(blocks=(2, 1, 1, 1)).layer1[1].eval()
    nn.init.zeros_(block.conv3.weight)
    images = torch.randn(1, 256, 4, 4)
    torch.testing.assert_close(block(images), images.clamp(min=0))


def test_last_layer_starts_as_section_6_1_says():
    torch.manual_seed(0)
    last = ResNet(blocks=(1, 1, 1, 1)).last
    assert not last.bias.any()
    assert float(last.weight.detach().mean()) == pytest.approx(0, abs=1e-4)
    assert float(last.weight.detach().std()) == pytest.approx(0.01, rel=0.01)


def imagenet_like(net):
    state = {
        name: torch.randn_like(value) if value.is_floating_point() else value + 7
        for name, value in net.state_dict().items()
    }
    return {**state, "fc.weight": torch.randn(1000, 2048), "fc.bias": torch.randn(1000)}


@pytest.mark.parametrize("counted", [True, False])
def test_imagenet_weights_are_loaded_but_for_the_last_layer(shallow, counted):
    state = imagenet_like(shallow)
    if not counted:
        state = {name: value for name, value in state.items() if "num_batches" not in name}
    before = {name: value.clone() for name, value in shallow.state_dict().items()}
    shallow.load_imagenet(state)
    for name, value in shallow.state_dict().items():
        kept = name.startswith("fc.") or name not in state
        torch.testing.assert_close(value, before[name] if kept else state[name])


def test_other_weights_are_refused(shallow):
    state = imagenet_like(shallow)
    del state["layer3.0.bn2.running_var"]
    with pytest.raises(InputError, match=r"layer3\.0\.bn2\.running_var"):
        shallow.load_imagenet(state)


def test_answers_keep_full_precision_under_bfloat16(shallow):
    with torch.autocast("cpu", torch.bfloat16):
        assert shallow.eval()(torch.rand(1, 3, 240, 240)).dtype == torch.float32

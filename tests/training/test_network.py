import pytest
import torch

from inversefacenet.errors import InputError
from inversefacenet.parameters import PARAMETER_COUNT
from training import network
from training.network import AlexNet, build, normalise
from training.resnet import ResNet

# What torchvision's alexnet(num_classes=350).state_dict() holds: ImageNet weights come under these names.
TORCHVISION = {
    "features.0.weight": (64, 3, 11, 11),
    "features.0.bias": (64,),
    "features.3.weight": (192, 64, 5, 5),
    "features.3.bias": (192,),
    "features.6.weight": (384, 192, 3, 3),
    "features.6.bias": (384,),
    "features.8.weight": (256, 384, 3, 3),
    "features.8.bias": (256,),
    "features.10.weight": (256, 256, 3, 3),
    "features.10.bias": (256,),
    "classifier.1.weight": (4096, 9216),
    "classifier.1.bias": (4096,),
    "classifier.4.weight": (4096, 4096),
    "classifier.4.bias": (4096,),
    "classifier.6.weight": (350, 4096),
    "classifier.6.bias": (350,),
}


@pytest.fixture
def narrow(monkeypatch):
    """Fully connected layers of 48 units, so that tests take little time."""
    monkeypatch.setattr(network, "HIDDEN_COUNT", 48)


def test_names_and_shapes_are_torchvisions():
    with torch.device("meta"):
        plain = AlexNet(batch_norm=False, rank=0)
    assert {name: tuple(value.shape) for name, value in plain.state_dict().items()} == TORCHVISION
    # torchvision's has 61,100,840 with 1000 classes.
    assert sum(value.numel() for value in plain.parameters()) == 61_100_840 - 650 * 4097


def test_feature_maps_have_59_29_14_and_6_pixels(narrow):
    net = AlexNet(batch_norm=False)
    sizes = []
    images = torch.zeros(1, 3, 240, 240)
    for layer in net.features:
        images = layer(images)
        sizes.append(tuple(images.shape[1:]))
    kept = [size for i, size in enumerate(sizes) if i == 0 or size != sizes[i - 1]]
    assert [size[1] for size in kept] == [59, 29, 29, 14, 14, 14, 6]
    assert kept[-1] == (256, 6, 6)
    assert net(torch.zeros(2, 3, 240, 240)).shape == (2, PARAMETER_COUNT)


def test_last_layer_starts_as_section_6_1_says():
    torch.manual_seed(0)
    last = AlexNet().classifier[6]
    assert not last.bias.any()
    assert float(last.weight.detach().mean()) == pytest.approx(0, abs=1e-4)
    assert float(last.weight.detach().std()) == pytest.approx(0.01, rel=0.01)


def test_crops_are_scaled_to_half_around_zero_channels_first():
    crops = torch.zeros(2, 240, 240, 3, dtype=torch.uint8)
    crops[1, 5, 7] = torch.tensor([255, 51, 0], dtype=torch.uint8)
    images = normalise(crops)
    assert images.shape == (2, 3, 240, 240)
    assert images.dtype == torch.float32
    torch.testing.assert_close(images[1, :, 5, 7], torch.tensor([0.5, -0.3, -0.5]))
    assert float(images[0].max()) == -0.5


def test_reduced_rank_is_a_product_of_two_layers(narrow):
    net = AlexNet(rank=12)
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items() if "classifier" in name}
    assert shapes == {
        "classifier.1.down.weight": (12, 9216),
        "classifier.1.up.weight": (48, 12),
        "classifier.1.up.bias": (48,),
        "classifier.4.down.weight": (12, 48),
        "classifier.4.up.weight": (48, 12),
        "classifier.4.up.bias": (48,),
        "classifier.6.weight": (350, 48),
        "classifier.6.bias": (350,),
    }


def test_batch_normalisation_sits_beside_each_convolution_under_its_own_name(narrow):
    names = set(AlexNet(batch_norm=True).state_dict())
    for index in (0, 3, 6, 8, 10):
        assert f"features.{index}.weight" in names
        assert f"features.{index}.bias" not in names
        assert f"features.{index}_norm.running_var" in names


def imagenet_like(net):
    """Random weights under torchvision's names, with a last layer of 1000 classes."""
    state = {name: torch.randn_like(value) * 0.02 for name, value in net.state_dict().items()}
    hidden = net.classifier[6].in_features
    return {**state, "classifier.6.weight": torch.randn(1000, hidden), "classifier.6.bias": torch.randn(1000)}


def test_imagenet_weights_are_loaded_but_for_the_last_layer(narrow):
    net = AlexNet(batch_norm=False)
    state = imagenet_like(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.load_imagenet(state)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name] if name.startswith("classifier.6") else state[name])


def test_imagenet_weights_of_reduced_rank_are_the_best_approximation(narrow):
    whole, reduced = AlexNet(batch_norm=False), AlexNet(batch_norm=False, rank=10)
    state = imagenet_like(whole)
    reduced.load_imagenet(state)
    for index in (1, 4):
        layer = reduced.classifier[index]
        product = layer.up.weight @ layer.down.weight
        wanted = state[f"classifier.{index}.weight"]
        missed = torch.linalg.svdvals(wanted)[10:].square().sum().sqrt()
        torch.testing.assert_close((product - wanted).norm(), missed, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layer.up.bias, state[f"classifier.{index}.bias"])
    torch.testing.assert_close(reduced.features[0].weight, state["features.0.weight"])


def test_full_rank_computes_what_the_whole_layers_compute(narrow):
    whole, reduced = AlexNet(batch_norm=False), AlexNet(batch_norm=False, rank=48)
    state = imagenet_like(whole)
    whole.load_imagenet(state)
    reduced.load_imagenet(state)
    reduced.classifier[6].load_state_dict(whole.classifier[6].state_dict())
    images = torch.rand(2, 3, 240, 240) - 0.5
    torch.testing.assert_close(reduced.eval()(images), whole.eval()(images), rtol=1e-3, atol=1e-4)


def test_dropout_acts_in_training_only(narrow):
    net = AlexNet(batch_norm=False, dropout=0.5)
    images = torch.rand(1, 3, 240, 240)
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))


def test_answers_keep_full_precision_under_bfloat16(narrow):
    net = AlexNet(batch_norm=False).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.rand(1, 3, 240, 240)).dtype == torch.float32


def test_options_say_what_is_built(narrow):
    net = build({"batch_norm": False, "rank": 7, "dropout": 0.25, "iterations": 5})
    assert (net.batch_norm, net.rank, net.classifier[0].p, net.classifier[3].p) == (False, 7, 0.25, 0.25)


def test_the_architecture_is_alexnet_unless_the_options_name_another(narrow):
    options = {"batch_norm": True, "rank": 4, "dropout": 0.0}
    assert isinstance(build(options), AlexNet)
    with torch.device("meta"):
        assert isinstance(build({**options, "architecture": "resnet101"}), ResNet)
    with pytest.raises(InputError, match="vgg"):
        build({**options, "architecture": "vgg"})


def test_weights_of_something_else_are_refused_before_anything_is_loaded(narrow):
    net = AlexNet(batch_norm=True, rank=4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = imagenet_like(AlexNet(batch_norm=False))
    with pytest.raises(InputError, match=r"features\.6\.weight"):
        net.load_imagenet({name: value for name, value in state.items() if name != "features.6.weight"})
    with pytest.raises(InputError, match="shape"):
        net.load_imagenet(state | {"features.0.weight": torch.zeros(64, 3, 7, 7)})
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_last_layer_answers_what_the_hidden_one_gives(narrow):
    net = AlexNet(batch_norm=True, rank=4).eval()
    images = torch.rand(2, 3, 240, 240) - 0.5
    assert net.last is net.classifier[6]
    assert torch.equal(net.last(net.hidden(images)), net(images))

"""Labels, training pictures, what they teach, and the file that is written."""

import numpy as np
import pytest
import torch

from inversefacenet.errors import InputError
from inversefacenet.face_proposals import FaceProposals
from inversefacenet.image import encode_png, load_photo
from inversefacenet.onnx_session import OnnxSession
from training.face_proposals.export import onnx_bytes
from training.face_proposals.label_photos import Labels, label_folder
from training.face_proposals.network import STRIDES, WIDTHS, ProposalNetwork
from training.face_proposals.pictures import Picture, PictureMaker, mirrored
from training.face_proposals.train import loss, main, targets

BOX = (172.0, 74.0, 272.0, 174.0)  # of the portrait's face


@pytest.fixture(scope="module")
def folder(tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("photos")
    portrait = load_photo(root / "examples" / "astronaut.png")
    (folder / "person").mkdir()
    (folder / "person" / "portrait.png").write_bytes(encode_png(portrait))
    (folder / "nobody.png").write_bytes(encode_png(np.full((60, 80, 3), 90, np.uint8)))
    (folder / "broken.jpg").write_bytes(b"no photo")
    return folder


@pytest.fixture(scope="module")
def labels(folder) -> Labels:
    return label_folder(folder)


@pytest.fixture(scope="module")
def maker(folder, labels) -> PictureMaker:
    return PictureMaker(folder, labels, [folder / "nobody.png"])


def test_labels(labels, tmp_path):
    assert labels.names == ["person/portrait.png"]  # the other photos show none, or can't be read
    sure = labels.scores >= 0
    assert sure.sum() == 2  # the detector also takes the badge for a face, with a small margin
    assert labels.scores[0] > 1 > 0.1 > labels.scores[1]
    np.testing.assert_allclose(labels.boxes[0], BOX, atol=10)
    labels.save(tmp_path / "labels.npz")
    again = Labels.load(tmp_path / "labels.npz")
    assert again.names == labels.names
    np.testing.assert_array_equal(again.boxes, labels.boxes)
    with pytest.raises(InputError, match="label them first"):
        Labels.load(tmp_path / "none.npz")
    with pytest.raises(InputError, match="no photo with a face"):
        label_folder(tmp_path)


def test_pictures_show_faces_where_they_say(maker):
    rng = np.random.default_rng(3)
    pictures = [maker.make(rng, (112, 144)) for _ in range(60)]
    assert all(one.pixels.shape == (112, 144, 3) for one in pictures)
    faces = np.concatenate([one.faces for one in pictures])
    assert len(faces) > 40
    assert faces[:, 2].min() < 20
    assert faces[:, 2].max() > 70
    assert any(len(one.faces) == 0 for one in pictures)
    again = maker.make(np.random.default_rng(3), (112, 144))
    np.testing.assert_array_equal(again.pixels, pictures[0].pixels)


def test_a_mirrored_picture_moves_its_faces():
    pixels = np.arange(16 * 32 * 3, dtype=np.uint32).reshape(16, 32, 3).astype(np.uint8)
    picture = Picture(pixels, np.array([[3.0, 5.0, 9.0]], np.float32), np.zeros((0, 3), np.float32))
    turned = mirrored(picture)
    np.testing.assert_array_equal(turned.pixels, pixels[:, ::-1])
    assert turned.faces.tolist() == [[29.0, 5.0, 9.0]]
    assert turned.doubtful.shape == (0, 3)


def test_targets_say_where_and_how_wide():
    faces = np.array([[21.0, 42.0, 15.0], [70.0, 60.0, 80.0]], np.float32)
    picture = Picture(np.zeros((112, 144, 3), np.uint8), faces, np.array([[120.0, 20.0, 16.0]], np.float32))
    maps = targets([picture], (112, 144))
    for (centre, weight, numbers), stride, own, face in zip(
        (maps[0], maps[2]), (STRIDES[0], STRIDES[2]), (WIDTHS[0], WIDTHS[2]), faces, strict=True
    ):
        row, column = (int(value // stride) for value in (face[1], face[0]))
        assert centre[0, 0, row, column] == 1
        assert (centre == 1).sum() == 1
        x, y, width, known = numbers[0, :, row, column].tolist()
        assert known == 1
        assert (column + 0.5 + x) * stride == pytest.approx(face[0])
        assert (row + 0.5 + y) * stride == pytest.approx(face[1])
        assert own * np.exp(width) == pytest.approx(face[2])
        assert weight[0, 0, row, column] == 1
    assert maps[1][0].max() == 0
    assert maps[0][1][0, 0, 5, 30] == 0  # doubtful: neither a face nor none


def test_a_picture_can_be_learned(maker):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pictures = [maker.make(rng, (64, 64)) for _ in range(6)]
    pixels = torch.from_numpy(np.stack([one.pixels for one in pictures])).permute(0, 3, 1, 2)
    wanted = targets(pictures, (64, 64))
    network = ProposalNetwork((8, 8, 16, 16))
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        centre, place = loss(network(pixels), wanted)
        optimiser.zero_grad()
        (centre + 0.5 * place).backward()
        optimiser.step()
        losses.append(float((centre + 0.5 * place).detach()))
    assert losses[-1] < 0.4 * losses[0]


def test_the_file_answers_as_the_network(tmp_path):
    torch.manual_seed(1)
    network = ProposalNetwork((8, 8, 16, 16))
    network(torch.randint(0, 256, (4, 3, 64, 96), dtype=torch.uint8))  # so that the norms know something
    network.eval()
    picture = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        expected = network(picture)
    content = onnx_bytes(network, {"trained_on": "noise"})
    session = OnnxSession(content, name="proposals")
    for found, one in zip(session.run(picture.numpy()), expected, strict=True):
        np.testing.assert_allclose(found, one.numpy(), atol=5e-3)
    assert session.metadata["trained_on"] == "noise"
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    assert isinstance(FaceProposals(path).propose(np.zeros((64, 64, 3), np.uint8)), list)


def test_command(folder, labels, tmp_path, capsys):
    labels.save(tmp_path / "labels.npz")
    options = ["--photos", str(folder), "--labels", str(tmp_path / "labels.npz"), "--minutes", "0.005"]
    options += ["--batch", "2", "--channels", "8", "8", "8", "8", "--output", str(tmp_path / "out.onnx")]
    assert main(options) == 0
    size = (tmp_path / "out.onnx").stat().st_size
    assert capsys.readouterr().out.strip().endswith(f"bytes={size}")
    FaceProposals(tmp_path / "out.onnx").load()
    assert main([*options[:2], "--labels", str(tmp_path / "none.npz"), *options[4:]]) == 1
    assert "label them first" in capsys.readouterr().err

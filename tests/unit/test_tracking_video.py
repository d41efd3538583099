"""Video files read as players show them, and written; what is none says so."""

import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from inversefacenet.errors import MissingDependencyError, VideoError
from inversefacenet.tracking.video import open_video, write_video

HEIGHT, WIDTH = 48, 64


def picture(level=0, height=HEIGHT, width=WIDTH):
    """Grey, with a bright upper left quarter."""
    image = np.full((height, width, 3), 40 + level, np.uint8)
    image[: height // 2, : width // 2] = 220
    return image


def write(path, frames, rate=25.0):
    with write_video(path, rate) as writer:
        for seconds, image in frames:
            writer.write(image, seconds)


def encoded(path, prepare=None, count=2, codec="mpeg4"):
    """A video that something is done to before it is encoded."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if prepare is not None:
            prepare(stream)
        for _ in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        container.mux(stream.encode())


def read(path, **options):
    with open_video(path, **options) as video:
        return list(video), video


def brightest_corner(image):
    quarters = {
        (row, column): image[row * image.shape[0] // 2 :, column * image.shape[1] // 2 :][
            : image.shape[0] // 2, : image.shape[1] // 2
        ].mean()
        for row in (0, 1)
        for column in (0, 1)
    }
    return max(quarters, key=quarters.get)


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
def test_what_is_written_is_read(tmp_path, ending):
    times = [0.0, 0.04, 0.08, 0.5, 0.53, 1.25]  # a variable frame rate
    path = tmp_path / f"clip{ending}"
    write(path, [(seconds, picture(10 * n)) for n, seconds in enumerate(times)])
    frames, video = read(path)
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.seconds for frame in frames] == pytest.approx(times, abs=0.002)
    for number, frame in enumerate(frames):
        assert np.abs(frame.image.astype(int) - picture(10 * number)).mean() < 3
    assert video.damaged == 0
    assert list(tmp_path.iterdir()) == [path], "nothing half-written is left"


def test_odd_sizes_are_widened_by_a_pixel(tmp_path):
    write(tmp_path / "clip.mp4", [(0.0, picture(0, 47, 63))])
    ((frame,), _) = read(tmp_path / "clip.mp4")
    assert frame.image.shape == (48, 64, 3)


def test_times_begin_with_the_first_frame(tmp_path):
    write(tmp_path / "clip.mkv", [(100.0, picture()), (100.2, picture())])
    frames, _ = read(tmp_path / "clip.mkv")
    assert [frame.seconds for frame in frames] == pytest.approx([0.0, 0.2], abs=0.002)


@pytest.mark.parametrize(
    ("timeless", "expected"),
    [(range(4), [0.0, 0.04, 0.08, 0.12]), ((2,), [0.0, 0.04, 0.08, 0.12]), ((0, 1), [0.0, 0.04, 0.08, 0.12])],
)
def test_frames_without_a_time_follow_at_the_videos_rate(tmp_path, timeless, expected):
    path = tmp_path / "clip.mp4"
    write(path, [(10 + i / 25, picture()) for i in range(4)])
    with open_video(path) as video:
        frames = list(video._decoded())
        for number in timeless:
            frames[number].pts = None
        video._decoded = lambda: iter(frames)
        np.testing.assert_allclose([frame.seconds for frame in video], expected, atol=1e-3)


@pytest.mark.parametrize(
    ("degrees", "shape", "corner"),
    [
        (90, (WIDTH, HEIGHT), (1, 0)),  # counter-clockwise: the upper left corner goes down
        (-90, (WIDTH, HEIGHT), (0, 1)),
        (180, (HEIGHT, WIDTH), (1, 1)),
        (0, (HEIGHT, WIDTH), (0, 0)),
    ],
)
def test_the_rotation_of_phones_is_applied(tmp_path, degrees, shape, corner):
    encoded(tmp_path / "phone.mp4", lambda stream: stream.set_display_rotation(degrees))
    frames, _ = read(tmp_path / "phone.mp4")
    assert frames[0].image.shape[:2] == shape
    assert brightest_corner(frames[0].image) == corner


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    def wide(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)

    encoded(tmp_path / "wide.mp4", wide)
    frames, _ = read(tmp_path / "wide.mp4")
    assert frames[0].image.shape == (HEIGHT, 96, 3)


def test_colours_survive(tmp_path):
    colours = np.array([[200, 40, 40], [40, 180, 40], [40, 40, 200]], np.uint8)
    image = np.repeat(np.repeat(colours[None], HEIGHT, axis=0), 32, axis=1)
    write(tmp_path / "clip.mp4", [(0.0, image)])
    ((frame,), _) = read(tmp_path / "clip.mp4")
    for number, colour in enumerate(colours):
        found = frame.image[8:-8, 32 * number + 8 : 32 * number + 24].reshape(-1, 3).mean(axis=0)
        assert np.abs(found - colour).max() < 6


def test_damaged_packets_are_left_out_and_counted(tmp_path):
    path = tmp_path / "clip.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (40, 96, 128, 3), np.uint8)
    write(path, [(n / 25, image) for n, image in enumerate(noise)])
    data = bytearray(path.read_bytes())
    end = data.rfind(b"moov")
    middle = end // 2
    data[middle : middle + 4000] = b"\xff" * 4000
    path.write_bytes(data)
    frames, video = read(path)
    assert 0 < len(frames) <= 40
    assert video.damaged > 0 or len(frames) < 40


def test_what_is_no_video_says_so(tmp_path):
    files = {
        "empty.mp4": (b"", "empty"),
        "text.mp4": (b"hello " * 1000, "no video"),
        "half.mp4": (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42" + bytes(500), "no video"),
    }
    for name, (content, message) in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(VideoError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)
    with pytest.raises(VideoError, match=r"missing\.mp4: can't be read"):
        read(tmp_path / "missing.mp4")
    with pytest.raises(VideoError, match="can't be read"):
        read(tmp_path)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="only sound"):
        read(path)


def test_a_file_that_names_others_is_refused(tmp_path):
    """A playlist must not make us open what somebody else has chosen."""
    secret = tmp_path / "secret.mp4"
    write(secret, [(0.0, picture())])
    lists = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "list.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(VideoError, match="no video"):
            read(tmp_path / name)


def test_frames_that_are_too_large_are_refused_before_they_are_decoded(tmp_path):
    write(tmp_path / "clip.mp4", [(0.0, picture())])
    with pytest.raises(VideoError, match="64 x 48 pixels, more than the limit of 1,000"):
        read(tmp_path / "clip.mp4", max_pixels=1000)


def test_what_can_t_be_written_says_so(tmp_path):
    with pytest.raises(VideoError, match=r"\.mp4, \.mov, \.mkv"), write_video(tmp_path / "clip.avi", 25.0):
        pass
    with (
        pytest.raises(VideoError, match="can't be written"),
        write_video(tmp_path / "no" / "folder" / "clip.mp4", 25.0),
    ):
        pass
    with pytest.raises(VideoError, match="one size"):
        write(tmp_path / "clip.mp4", [(0.0, picture()), (0.1, picture(0, 48, 96))])
    assert list(tmp_path.iterdir()) == [], "a video that failed leaves nothing"


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "clip.mp4").write_bytes(b"some bytes")
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[video\]"):
        read(tmp_path / "clip.mp4")
    # Whoever mistyped a name needn't install anything to hear of it.
    with pytest.raises(VideoError, match=r"missing\.mp4: can't be read"):
        read(tmp_path / "missing.mp4")

"""`inversefacenet track`: a video in; its face, settled and free of jitter, a row a frame out."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from inversefacenet.cli.output import add_face_model_option, complain, progress, say
from inversefacenet.cli.reconstruct import make_reconstructor

if TYPE_CHECKING:
    from inversefacenet.tracking import TrackedFrame, Tracker
    from inversefacenet.tracking.intervals import Interval, Summary
    from inversefacenet.tracking.table import FrameTable
    from inversefacenet.tracking.video import Video, VideoFrame, VideoWriter


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add this command to the program's parser."""
    parser = commands.add_parser(
        "track",
        parents=[common],
        help="follow the face of a video",
        description="Follow the largest face of a video until it is lost, then the largest that is there. "
        "Shape and skin settle over a person's frames; pose, expression and light are filtered without lag. "
        "From when to when there is no face stands on standard error and in the summary.",
    )
    parser.add_argument("video", type=Path, metavar="VIDEO", help="a video's file")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="a row for each frame: .jsonl or .parquet"
    )
    parser.add_argument(
        "--video",
        dest="overlay",
        type=Path,
        metavar="FILE",
        help="the video with the face laid over it, without sound: .mp4, .mov or .mkv",
    )
    parser.add_argument(
        "--side-by-side", action="store_true", help="show the video itself beside the one with the face"
    )
    parser.add_argument(
        "--model", type=Path, metavar="ONNX", help="the network: fast, reference or a file; by default fast"
    )
    add_face_model_option(parser)
    parser.add_argument(
        "--landmarks",
        type=Path,
        metavar="FILE",
        help="landmark predictor: a file, or 'open' for the project's own; default: the usual one",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as a JSON object")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Follow the face of one video; fails if it shows none at all.

    Raises:
        InverseFaceNetError: If the video can't be read, or a file not be written.
    """
    from inversefacenet.tracking import Tracker
    from inversefacenet.tracking.intervals import Summary
    from inversefacenet.tracking.table import check_table_name, write_table
    from inversefacenet.tracking.video import check_video_name, open_video, write_video

    if options.output is not None:
        check_table_name(options.output)
    if options.overlay is not None:
        check_video_name(options.overlay)
        if options.overlay.exists() and options.overlay.samefile(options.video):
            options.parser.error("--video names the video itself: name another file")
    elif options.side_by_side:
        options.parser.error("--side-by-side needs --video")
    summary = Summary()
    with ExitStack() as stack:
        video = stack.enter_context(open_video(options.video))
        tracker = Tracker(make_reconstructor(options.model, options.face_model, options.landmarks))
        table = stack.enter_context(write_table(options.output)) if options.output else None
        writer = stack.enter_context(write_video(options.overlay, video.rate)) if options.overlay else None
        started = time.perf_counter()
        for frame, tracked in progress(_tracked(video, tracker), video.frames, "frame"):
            _note(summary.add(tracked))
            _write(options, table, writer, frame, tracked)
        _note(summary.finish(1 / video.rate))
    _tell(options, summary, video, time.perf_counter() - started)
    if summary.states["lost"] == summary.frames:
        complain(f"{options.video}: no face was found in the whole video")
        return 1
    return 0


def _tracked(video: Video, tracker: Tracker) -> Iterator[tuple[VideoFrame, TrackedFrame]]:
    for frame in video:
        yield frame, tracker.track(frame.image, frame.seconds)


def _write(
    options: argparse.Namespace,
    table: FrameTable | None,
    writer: VideoWriter | None,
    frame: VideoFrame,
    tracked: TrackedFrame,
) -> None:
    if table is not None:
        table.write(frame.index, tracked)
    if writer is not None:
        writer.write(_picture(frame.image, tracked, side_by_side=options.side_by_side), frame.seconds)


def _picture(
    image: UInt8[np.ndarray, "height width 3"], tracked: TrackedFrame, *, side_by_side: bool
) -> UInt8[np.ndarray, "height wide 3"]:
    """Return a frame with its face laid over; one without a face stays as it is."""
    from inversefacenet.visualisation import overlay

    shown = image if tracked.reconstruction is None else overlay(image, tracked.reconstruction)
    return np.concatenate([image, shown], axis=1) if side_by_side else shown


def _note(lost: Interval | None) -> None:
    """Say from when to when there was no face, once it is over."""
    from inversefacenet.tracking.intervals import clock

    if lost is not None:
        frames = "1 frame" if lost.frames == 1 else f"{lost.frames} frames"
        complain(f"no face from {clock(lost.start)} to {clock(lost.end)} ({frames})")


def _tell(options: argparse.Namespace, summary: Summary, video: Video, seconds: float) -> None:
    if video.damaged:
        complain(f"{options.video}: damaged; {video.damaged} packets of it could not be decoded")
    facts = summary.to_dict()
    rate = summary.frames / seconds if seconds else 0.0
    if options.json:
        files = {name: str(path) for name, path in _files(options).items()}
        timing = {"seconds": round(seconds, 3), "fps": round(rate, 2)}
        say(json.dumps({"video": str(options.video), **facts, "damaged": video.damaged, **timing, **files}))
        return
    counts = ("frames", "tracked", "detected", "lost", "searches", "people")
    parts = [f"{name}={facts[name]}" for name in counts]
    parts += [f"seconds={seconds:.1f}", f"fps={rate:.1f}"]
    say(" ".join([*parts, *(f"{name}={path}" for name, path in _files(options).items())]))


def _files(options: argparse.Namespace) -> dict[str, Path]:
    files = {"output": options.output, "overlay": options.overlay}
    return {name: path for name, path in files.items() if path is not None}

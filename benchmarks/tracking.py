"""What following a face is worth: ``python -m benchmarks.tracking CLIP``, against each frame by itself.

Each frame is done twice in turn: searched and reconstructed alone, and tracked. Jitter is the second
difference over three frames, which a steady motion doesn't have: its median over the video, and over its calm
frames, where hardly anything but jitter is left. Lag is the shift that brings the tracked signal nearest to
the frames' own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Float64

from inversefacenet.errors import InverseFaceNetError, NoFaceError
from inversefacenet.parameters import GROUPS

if TYPE_CHECKING:
    from inversefacenet.reconstruction import Reconstruction

SIGNALS = ("centre", "yaw", "mouth")


@dataclass
class Track:
    """One way to do a video's frames.

    Attributes:
        thetas: Parameters of each frame, NaN where there is no face.
        landmarks: The 68 points that place the face.
        photometric: Error of each frame, NaN likewise.
        nme: Landmark error of each frame, likewise.
        milliseconds: Time of each frame.
        searches: In how many frames a face was searched.
        lost: How many frames have no face.
    """

    thetas: list[Float[np.ndarray, "350"]] = field(default_factory=list)
    landmarks: list[Float[np.ndarray, "68 2"]] = field(default_factory=list)
    photometric: list[float] = field(default_factory=list)
    nme: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    searches: int = 0
    lost: int = 0

    def add(self, face: Reconstruction | None, milliseconds: float, *, searched: bool) -> None:
        """Note a frame."""
        self.milliseconds.append(milliseconds)
        self.searches += searched
        self.lost += face is None
        self.thetas.append(np.full(350, np.nan) if face is None else face.parameters.vector())
        self.landmarks.append(np.full((68, 2), np.nan) if face is None else face.face.landmarks)
        self.photometric.append(np.nan if face is None else face.quality.photometric)
        self.nme.append(np.nan if face is None else face.quality.nme)

    def figures(self, calm: Bool[np.ndarray, "frames"]) -> dict[str, float]:
        """Return its figures by name; some of calm frames alone."""
        thetas = np.array(self.thetas, np.float64)
        moving = {"landmark_px": np.array(self.landmarks, np.float64)}
        for name, group in GROUPS.items():
            values = np.degrees(thetas[:, group]) if name == "rotation" else thetas[:, group]
            unit = {"rotation": "degrees", "illumination": "units"}.get(name, "sd")
            moving[f"{name}_{unit}"] = values[..., None]
        found = {f"jitter_{name}": jitter(values) for name, values in moving.items()}
        found |= {f"calm_jitter_{name}": jitter(values, calm) for name, values in moving.items()}
        found |= {
            "photometric": float(np.nanmean(self.photometric)),
            "nme": float(np.nanmean(self.nme)),
            "searches": float(self.searches),
            "lost": float(self.lost),
            "ms_a_frame": float(np.median(self.milliseconds)),
        }
        return found


def jitter(
    values: Float[np.ndarray, "frames rows columns"], counted: Bool[np.ndarray, "frames"] | None = None
) -> float:
    """Return the median over frames of the second difference's length: the root mean square over rows."""
    second = np.diff(values.astype(np.float64), n=2, axis=0)
    lengths = np.sqrt((second**2).sum(axis=2).mean(axis=1))
    if counted is not None:
        lengths = lengths[counted[1:-1]]
    return float(np.nanmedian(lengths)) if np.isfinite(lengths).any() else float("nan")


def calm_frames(
    landmarks: Float[np.ndarray, "frames 68 2"], reach: int = 3, most: float = 0.03
) -> Bool[np.ndarray, "frames"]:
    """Say in which frames the face hardly moves: within so many, by less than a part of the eyes' span."""
    centres = landmarks[:, 17:48].mean(axis=1)
    eyes = np.linalg.norm(landmarks[:, 36] - landmarks[:, 45], axis=1)
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1) / eyes[1:]
    return np.array(
        [bool((steps[max(n - reach, 0) : n + reach] < most).all()) for n in range(len(landmarks))], bool
    )


def lag(
    signal: Float[np.ndarray, "frames"],
    reference: Float[np.ndarray, "frames"],
    seconds: Float[np.ndarray, "frames"],
    reach: float = 0.2,
) -> float:
    """Return by how many milliseconds a signal comes after another: the shift of least squared difference."""
    known = np.isfinite(signal) & np.isfinite(reference)
    times = seconds[known]
    inside = (times >= times[0] + reach) & (times <= times[-1] - reach)

    def apart(shift: float) -> float:
        moved = np.interp(times[inside] - shift, times, reference[known])
        return float(((signal[known][inside] - moved) ** 2).sum())

    shifts = np.arange(-reach, reach + 1e-9, 0.001)
    return 1000 * float(shifts[int(np.argmin([apart(shift) for shift in shifts]))])


def signals(track: Track) -> dict[str, Float64[np.ndarray, "frames"]]:
    """Return what moves: the face's place along the way it moves most, its yaw, how far the mouth is open."""
    landmarks = np.array(track.landmarks, np.float64)
    centre = landmarks[:, 17:48].mean(axis=1)
    spread = np.nanvar(centre, axis=0)
    return {
        "centre": centre[:, int(np.argmax(spread))],
        "yaw": np.array(track.thetas, np.float64)[:, 0],
        "mouth": np.linalg.norm(landmarks[:, 66] - landmarks[:, 62], axis=1),
    }


def compare(clip: Path) -> dict[str, dict[str, float]]:
    """Do a video's frames both ways; returns the figures of each, and the lags of the tracked ones."""
    from inversefacenet.reconstruction import Reconstructor
    from inversefacenet.tracking import Tracker
    from inversefacenet.tracking.video import open_video

    reconstructor = Reconstructor()
    tracker = Tracker(reconstructor)
    alone, tracked, times = Track(), Track(), []
    with open_video(clip) as video:
        for frame in video:
            times.append(frame.seconds)
            started = time.perf_counter()
            try:
                (face,) = reconstructor.reconstruct(frame.image)
            except NoFaceError:
                face = None
            between = time.perf_counter()
            result = tracker.track(frame.image, frame.seconds)
            ended = time.perf_counter()
            alone.add(face, 1000 * (between - started), searched=True)
            tracked.add(result.reconstruction, 1000 * (ended - between), searched=result.searched)
    ours, theirs, seconds = signals(tracked), signals(alone), np.array(times)
    lags = {f"{name}_lag_ms": lag(ours[name], theirs[name], seconds) for name in SIGNALS}
    calm = calm_frames(np.array(alone.landmarks, np.float64))
    lags["calm_frames"] = float(calm.sum())
    return {"alone": alone.figures(calm), "tracked": tracked.figures(calm) | lags}


def report(figures: dict[str, dict[str, float]]) -> list[str]:
    """Return the figures as lines: of each frame alone, tracked, and the second in parts of the first."""
    alone, tracked = figures["alone"], figures["tracked"]
    lines = [f"{'':28}{'alone':>12}{'tracked':>12}{'ratio':>8}"]
    for name, value in tracked.items():
        if name not in alone:
            lines.append(f"{name:28}{'':12}{value:12.4g}")
            continue
        ratio = f"{value / alone[name]:8.2f}" if alone[name] else ""
        lines.append(f"{name:28}{alone[name]:12.4g}{value:12.4g}{ratio}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tracking", description="Compare tracked frames with frames alone."
    )
    parser.add_argument("clip", type=Path, help="a video's file")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures as JSON, too")
    options = parser.parse_args(arguments)
    try:
        figures = compare(options.clip)
    except InverseFaceNetError as error:
        print(f"benchmarks.tracking: {error}", file=sys.stderr)
        return 1
    print(*report(figures), sep="\n")
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    tracked, alone = figures["tracked"], figures["alone"]
    ratio = {name: tracked[name] / alone[name] for name in ("jitter_landmark_px", "calm_jitter_landmark_px")}
    print(
        f"jitter_ratio={ratio['jitter_landmark_px']:.3f} "
        f"calm_jitter_ratio={ratio['calm_jitter_landmark_px']:.3f} "
        f"centre_lag_ms={tracked['centre_lag_ms']:.0f} "
        f"searches={tracked['searches']:.0f} ms_alone={alone['ms_a_frame']:.1f} "
        f"ms_tracked={tracked['ms_a_frame']:.1f}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Makes the pictures of the guides: by the commands that stand in them, and the figure of the axes.

    python scripts/docs_pictures.py [NAME ...]

Each guide names its pictures' commands in blocks of `sh` that begin with `inversefacenet`; they run in a
folder of their own beside `examples/`; what the guide shows of it goes into `docs/images/`, made smaller.
The last line is `pictures=`.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patheffects import AbstractPathEffect, withStroke
from PIL import Image, ImageDraw, ImageFont

from inversefacenet.camera import Placement, project, rotation_matrix
from inversefacenet.editing import PhotoEditor, parse_edits
from inversefacenet.image import load_photo
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import interpolate, rasterize
from inversefacenet.reconstruction import Reconstructor
from inversefacenet.rendering import render, screen_points
from inversefacenet.texture import load_atlas, unwrap_photo
from inversefacenet.texture.sampling import bilinear
from inversefacenet.tracking.video import open_video, write_video
from inversefacenet.visualisation import comparison_strip, contact_sheet

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
IMAGES = DOCS / "images"
WIDEST = 1280

_SOURCES = np.array([[255, 255, 255], [48, 164, 108], [59, 130, 246], [229, 72, 77]], np.uint8)
_EDITS: dict[str, list[dict[str, Any]]] = {
    "photo": [],
    "light: left": [{"edit": "relight", "light": "left"}],
    "light: sunset": [{"edit": "relight", "light": "sunset"}],
    "light: neon": [{"edit": "relight", "light": "neon"}],
    "yaw 15": [{"edit": "pose", "yaw": 15}],
    "jawOpen 0.6": [{"edit": "expression", "units": {"jawOpen": 0.6}, "relative": True}],
    "neutral": [{"edit": "neutral"}],
    "skin tone -1": [{"edit": "skin", "tone": -1}],
}
_SIZE = 800
_PLACEMENT = Placement(2750.0, (_SIZE / 2 - 20, _SIZE / 2 + 10))
_OUTLINE: list[AbstractPathEffect] = [withStroke(linewidth=3.5, foreground="white")]
_AXES = (("x", (1, 0, 0), "#e5484d"), ("y", (0, 1, 0), "#30a46c"), ("z", (0, 0, 1), "#3b82f6"))


def main(arguments: list[str] | None = None) -> int:
    """Make all pictures, or those named."""
    parser = argparse.ArgumentParser(description="Make the pictures of the documentation.")
    parser.add_argument("names", nargs="*", help="guides, or figures such as `axes`; by default all")
    names = parser.parse_args(arguments).names
    guides = sorted((DOCS / "guides").glob("*.md"))
    made = 0
    for file, draw in FIGURES.items():
        if not names or Path(file).stem in names:
            draw(IMAGES / file)
            made += 1
    for guide in guides:
        if not names or guide.stem in names:
            made += run_guide(guide)
    print(f"pictures={made}")
    return 0


def run_guide(guide: Path) -> int:
    """Run a guide's commands and take what it shows; returns the number of pictures."""
    text = guide.read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]*\]\(\.\./images/([\w.-]+)\)", text)
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, flags=re.S) for line in joined(block)]
    made = 0
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "examples").symlink_to(ROOT / "examples")
        for line in lines:
            program, *rest = shlex.split(line, comments=True) or [""]
            if Path(program).name == "inversefacenet" and "--server" not in rest:
                command = [sys.executable, "-m", "inversefacenet.cli", *rest]
                print(f"{guide.stem}: {line}", file=sys.stderr)
                subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for name in shown:
            source = Path(folder) / name
            if source.exists():
                shrink(source, IMAGES / name)
                made += 1
    return made


def joined(block: str) -> list[str]:
    """Return a block's commands, continued lines put together."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def shrink(source: Path, target: Path) -> None:
    """Write a picture no wider than a page shows it."""
    with Image.open(source) as picture:
        small = picture.convert("RGB")
    if small.width > WIDEST:
        small = small.resize((WIDEST, round(small.height * WIDEST / small.width)), Image.Resampling.LANCZOS)
    if target.suffix == ".jpg":
        small.save(target, quality=90)
    else:
        small.save(target, optimize=True)


def draw_demo(path: Path) -> None:
    """Draw what `make run` shows: the network's own answer to the example photo."""
    (face,) = Reconstructor().reconstruct(load_photo(ROOT / "examples/astronaut.png"))
    Image.fromarray(comparison_strip(face, 320)).save(path, optimize=True)


def draw_refinement(path: Path) -> None:
    """Draw the network's answer, and under it the same after ten steps of the optimiser."""
    reconstructor = Reconstructor()
    (face,) = reconstructor.reconstruct(load_photo(ROOT / "examples/astronaut.png"))
    strips = [comparison_strip(one, 320) for one in (face, reconstructor.refine(face, 10))]
    Image.fromarray(np.concatenate(strips)).save(path, quality=90)


def make_clip(path: Path) -> None:
    """Film the photo: a head that turns and talks, by edits of one picture."""
    photo = load_photo(ROOT / "examples/astronaut.png")[:320, 60:380]
    reconstructor = Reconstructor()
    (face,) = reconstructor.reconstruct(photo)
    editor = PhotoEditor(photo, reconstructor.refine(face))
    with write_video(path, 24.0) as video:
        for number in range(48):
            turn, talk = np.sin(number / 7), max(np.sin(number / 3), 0.0)
            spec: list[dict[str, Any]] = [
                {"edit": "pose", "yaw": 14 * turn, "roll": 3 * turn},
                {"edit": "expression", "units": {"jawOpen": 0.4 * talk}, "relative": True},
            ]
            video.write(editor.edit(parse_edits(spec, face.model)), number / 24)


def draw_video(path: Path) -> None:
    """Draw some frames of a clip, under them the same with the face laid over them."""
    with tempfile.TemporaryDirectory() as folder:
        clip, overlay = Path(folder, "clip.mp4"), Path(folder, "overlay.mp4")
        make_clip(clip)
        command = [sys.executable, "-m", "inversefacenet.cli", "track", str(clip), "--video", str(overlay)]
        command += ["--output", str(Path(folder, "faces.jsonl"))]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rows = []
        for file in (clip, overlay):
            with open_video(file) as frames:
                rows.append(
                    np.concatenate([frame.image for frame in frames if frame.index % 12 == 5], axis=1)
                )
    Image.fromarray(np.concatenate(rows)).save(path, quality=88)


def draw_editing(path: Path) -> None:
    """Draw a photo and seven edits of it."""
    photo = load_photo(ROOT / "examples/astronaut.png")
    reconstructor = Reconstructor()
    face = reconstructor.refine(reconstructor.reconstruct(photo)[0])
    editor = PhotoEditor(photo, face)
    left, top, side = editor.box
    panels = []
    for name, spec in _EDITS.items():
        edited = editor.edit(parse_edits(spec, face.model))[top : top + side, left : left + side]
        panel = Image.fromarray(edited).resize((320, 320), Image.Resampling.LANCZOS)
        draw = ImageDraw.Draw(panel)
        font = ImageFont.load_default(15)
        draw.rectangle((0, 296, 14 + draw.textlength(name, font), 320), (0, 0, 0))
        draw.text((6, 299), name, (255, 255, 255), font)
        panels.append(np.asarray(panel))
    Image.fromarray(contact_sheet(panels, 4)).save(path, quality=88)


def draw_texture(path: Path) -> None:
    """Draw a photo, its texture, where the texels come from, and the textured face turned to both sides."""
    photo = load_photo(ROOT / "examples/astronaut.png")
    reconstructor = Reconstructor()
    face = reconstructor.refine(reconstructor.reconstruct(photo)[0])
    texture, atlas = unwrap_photo(photo, face), load_atlas(face.model)
    panels = [face.crop.unmasked, texture.image, _SOURCES[texture.source]]
    for yaw in (-35, 35):
        turn = rotation_matrix(np.radians([yaw, 0.0, 0.0])).T.astype(np.float32)
        # The whole mesh, larger than the face alone: its rim is to be seen, too.
        points = screen_points(face.geometry() @ turn, Placement(1750.0, (240.0, 240.0)))
        seen = rasterize(points, face.model.triangles, 480, 480)
        uv = interpolate(seen, atlas.triangles, atlas.uv) * np.float32(len(texture.image))
        uv[..., 1] = len(texture.image) - uv[..., 1]
        colours = bilinear(texture.image.astype(np.float32), uv.reshape(-1, 2)).reshape(480, 480, 3)
        panels.append(np.where(seen.mask[..., None], colours, 255).astype(np.uint8))
    row = [Image.fromarray(panel).resize((480, 480), Image.Resampling.LANCZOS) for panel in panels]
    picture = Image.new("RGB", (480 * len(row), 480), "white")
    for number, panel in enumerate(row):
        picture.paste(panel, (480 * number, 0))
    picture.resize((WIDEST, WIDEST // len(row)), Image.Resampling.LANCZOS).save(path)


def draw_axes(target: Path) -> None:
    """Draw the axes of the model, and what positive angles do."""
    model = MorphableModel.load_default()
    turns = (
        ("at rest", (0.0, 0.0, 0.0)),
        ("yaw +0.5: to the image's right", (0.5, 0.0, 0.0)),
        ("pitch +0.4: down", (0.0, 0.4, 0.0)),
        ("roll +0.4: counter-clockwise", (0.0, 0.0, 0.4)),
    )
    figure, axes = plt.subplots(1, 4, figsize=(16, 4.6), facecolor="white")
    for axis, (title, angles) in zip(axes, turns, strict=True):
        light = np.zeros((9, 3))
        light[:4] = np.array([0.75, 0.2, 0.18, -0.1])[:, None]
        face = Parameters.from_dict({"rotation": list(angles), "illumination": light.tolist()})
        drawn = render(model, face, placement=_PLACEMENT, shape=(_SIZE, _SIZE))
        axis.imshow(np.where(drawn.mask[..., None], drawn.image, 255), interpolation="antialiased")
        axis.set(title=title, xlim=(0, _SIZE), ylim=(_SIZE, 0))
        axis.title.set_fontsize(14)
        axis.axis("off")
        _arrows(axis, model, np.array(angles))
    figure.tight_layout()
    figure.savefig(target, dpi=80)
    plt.close(figure)


def _arrows(axis: Axes, model: MorphableModel, angles: Float[np.ndarray, "3"]) -> None:
    """Draw the model's axes, turned with the head, from a point before the tip of the nose."""
    start = model.mean_geometry[model.landmarks[30]] + np.array([0, 0, 4.0])
    for name, direction, colour in _AXES:
        ends = np.stack([start, start + 85 * np.array(direction)]) @ rotation_matrix(angles).T
        (x0, y0), (x1, y1) = _PLACEMENT.apply(project(ends))
        if np.hypot(x1 - x0, y1 - y0) < 0.1 * _SIZE:  # towards the viewer: a dot in a circle
            axis.plot([x0], [y0], "o", ms=13, mfc="white", mec=colour, mew=2.5)
            axis.plot([x0], [y0], "o", ms=5, color=colour)
            axis.text(
                x0 - 70,
                y0 + 75,
                f"{name}, to you",
                color=colour,
                fontsize=15,
                weight="bold",
                path_effects=_OUTLINE,
            )
            continue
        axis.annotate("", (x1, y1), (x0, y0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 3})
        x, y = x1 + 0.12 * (x1 - x0), y1 + 0.12 * (y1 - y0)
        text = axis.text(x, y, name, color=colour, fontsize=17, weight="bold", ha="center", va="center")
        text.set_path_effects(_OUTLINE)


FIGURES: dict[str, Callable[[Path], None]] = {
    "axes.png": draw_axes,
    "demo.png": draw_demo,
    "editing.jpg": draw_editing,
    "refine.jpg": draw_refinement,
    "texture.png": draw_texture,
    "video.jpg": draw_video,
}
"""What no single command shows."""


if __name__ == "__main__":
    raise SystemExit(main())

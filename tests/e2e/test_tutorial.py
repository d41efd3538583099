"""What the tutorial shows runs, from its first block to its last."""

import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


def test_the_tutorial_runs(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    blocks = re.findall(r"```python\n(.*?)```", TUTORIAL, flags=re.S)
    assert len(blocks) >= 6
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    out = tmp_path / "out" / "tutorial"
    for name in re.findall(r'out / "([^"]+)"', TUTORIAL):
        assert (out / name).stat().st_size > 0, name
    with Image.open(out / "edited.png") as edited, Image.open(ROOT / "examples" / "astronaut.png") as photo:
        assert edited.size == photo.size

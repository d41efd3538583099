"""What the tests of batches and of the photo store share: photos, engines that die, work that kills."""

import os
import signal
from pathlib import Path

import numpy as np
from PIL import Image

ASTRONAUT = Path(__file__).resolve().parents[2] / "examples" / "astronaut.png"
FACE = (100, 0, 340, 240)


def portrait(brightness=1.0, box=FACE):
    """Return the astronaut's head, 240 pixels on a side."""
    with Image.open(ASTRONAUT) as photo:
        pixels = np.asarray(photo.convert("RGB").crop(box)) * brightness
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


class Inline:
    """Does the work in this process, the last task first."""

    name = "inline"
    repeated = 0

    def run(self, work, tasks):
        for task in reversed(list(tasks)):
            yield task, work(task)


class Dying(Inline):
    """Takes the whole process with it after some tasks, as SIGKILL or a power cut does."""

    def __init__(self, after):
        self.after = after

    def run(self, work, tasks):
        for number, done in enumerate(super().run(work, tasks)):
            if number == self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            yield done


class GivingUp(Inline):
    """Gives up the tasks that a function names."""

    def __init__(self, hopeless):
        self.hopeless = hopeless

    def run(self, work, tasks):
        for task in tasks:
            yield task, None if self.hopeless(task) else work(task)


def double(number):
    return 2 * number


def double_and_die_once(folder, number):
    """Die at the first try of number 3."""
    marker = folder / "died"
    if number == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def double_and_mark(folder, number):
    (folder / str(number)).touch()
    return 2 * number


def double_all_but(deadly, numbers):
    """Die whenever the deadly number comes."""
    if deadly in numbers:
        os.kill(os.getpid(), signal.SIGKILL)
    return [2 * number for number in numbers]


def refuse(number):
    raise ValueError(f"no {number}")


def threads(_):
    return os.environ["OMP_NUM_THREADS"]


def pid(_):
    return os.getpid()

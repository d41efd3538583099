"""A frame's way: followed or searched, asked of the network, taken or dropped, filtered.

Nothing is kept here between frames: the state comes with each frame and goes with its answer, so that any
process may do the next. The network's part can be done elsewhere, between two steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.errors import ImageError, InputError, LandmarkError, NoFaceError
from inversefacenet.landmarks import Face
from inversefacenet.metrics import measure
from inversefacenet.parameters import Parameters
from inversefacenet.reconstruction import Reconstruction, Reconstructor
from inversefacenet.rendering import render
from inversefacenet.stages import stage
from inversefacenet.tracking.frames import Frame, Pending, TrackedFrame
from inversefacenet.tracking.identity import Identity, SkinTone
from inversefacenet.tracking.motion import Motion, face_width
from inversefacenet.tracking.options import TrackingOptions
from inversefacenet.tracking.state import Changing, TrackState, difference, thumbnail

_LEAST_SECONDS: Final = 1 / 240  # frames of one and the same time count as this far apart
_LARGEST_SPREAD: Final = 0.06  # of landmarks in face widths: there is no face in the box
_LARGEST_GROWTH: Final = 1.5  # of a face's width from one frame to the next
_STRANGE_FRAMES: Final = 8  # in a row, until somebody who was followed is somebody else


class TrackingSteps:
    """Does frames; one object may serve any number of videos, and threads as its reconstructor may."""

    def __init__(self, reconstructor: Reconstructor, options: TrackingOptions | None = None) -> None:
        """Take what does the work.

        Args:
            reconstructor: If its detector has a method `face_at` as `landmarks.FaceDetector` has, faces are
                followed; with another one every frame is searched.
            options: How faces are followed.
        """
        self.reconstructor = reconstructor
        self.options = options or TrackingOptions()
        self._tone = SkinTone.of(reconstructor.model)

    def with_options(self, options: TrackingOptions) -> TrackingSteps:
        """Return the same with other options."""
        other = copy.copy(self)
        other.options = options
        return other

    def begin(
        self, image: UInt8[np.ndarray, "height width 3"], seconds: float, state: TrackState
    ) -> Pending | TrackedFrame:
        """Do what comes before the network.

        Args:
            image: The frame, upright sRGB.
            seconds: Its time; no earlier than the last frame's.
            state: What is known after the last frame; the empty state for the first one.

        Returns:
            The face that the network is to see; or the frame's result, if no face is seen or searched.

        Raises:
            InputError: If the time is no number, or earlier than the last frame's.
            ImageError: If the frame is no 8-bit RGB image.
        """
        if not math.isfinite(seconds) or seconds < state.seconds:
            raise InputError(
                f"A frame's time is a number of seconds that never falls: {seconds} follows {state.seconds}."
            )
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype != np.uint8:
            raise ImageError(
                f"A frame is an 8-bit RGB picture, uint8 [height, width, 3]; got {image.dtype} "
                f"{list(image.shape)}."
            )
        small = thumbnail(image)
        first = math.isnan(state.seconds)
        elapsed = _LEAST_SECONDS if first else max(seconds - state.seconds, _LEAST_SECONDS)
        cut = state.thumbnail is not None and difference(small, state.thumbnail) >= self.options.cut
        frame = Frame(image, seconds, elapsed, small, cut, state)
        if state.motion is not None and not cut and elapsed <= self.options.gap_seconds:
            followed = self._follow(frame, state.motion)
            if followed is not None:
                return followed
        due = seconds >= state.searched + self.options.search_seconds
        if first or cut or due or state.motion is not None:
            return self._search(frame)
        return _lost(frame, searched=False)

    def proceed(self, pending: Pending, theta: Float32[np.ndarray, "350"]) -> Pending | TrackedFrame:
        """Do what comes after the network.

        Args:
            pending: The frame.
            theta: What the network answered for its crop.

        Returns:
            The frame's result; or, if a followed face turns out to be lost and another was found, that face,
            for which the network is to be asked once more.
        """
        (answer,) = self.reconstructor.finish([pending.found], theta[None])
        least = self.options.least_confidence ** (1 if pending.searched else 2)
        if answer.confidence < least:
            return _lost(pending.frame, searched=True) if pending.searched else self._search(pending.frame)
        return self._settle(pending, answer)

    def _follow(self, frame: Frame, motion: Motion) -> Pending | None:
        """Look for the face where it should be; None if it isn't there."""
        face_at: Callable[..., Face] | None = getattr(self.reconstructor.detector, "face_at", None)
        if face_at is None:
            return None
        box, roll = motion.expected(frame.elapsed)
        try:
            with stage("landmarks"):
                face = face_at(frame.image, box, roll=roll)
            growth = face_width(face.landmarks) / face_width(motion.points)
            if face.spread > _LARGEST_SPREAD or not 1 / _LARGEST_GROWTH < growth < _LARGEST_GROWTH:
                return None
            moved = motion.advance(self.options, face.landmarks, frame.elapsed)
            return self._pending(frame, face, moved, searched=False)
        except LandmarkError:  # it has left the picture
            return None

    def _search(self, frame: Frame) -> Pending | TrackedFrame:
        """Look for the largest face everywhere."""
        try:
            (face, *_) = self.reconstructor.detector.detect(
                frame.image, faces="largest", minimum_size=self.options.minimum_size
            )
            return self._pending(frame, face, Motion.start(face.landmarks), searched=True)
        except (NoFaceError, LandmarkError):
            return _lost(frame, searched=True)

    def _pending(self, frame: Frame, face: Face, motion: Motion, *, searched: bool) -> Pending:
        face = replace(face, landmarks=motion.landmarks())
        (found,) = self.reconstructor.cut(frame.image, [face])
        return Pending(found, frame, motion, searched)

    def _settle(self, pending: Pending, answer: Reconstruction) -> TrackedFrame:
        """Filter an answer that counts, and note what the next frame needs."""
        frame, before = pending.frame, pending.frame.before
        identity = self._recognised(pending, answer)
        relit = self._tone.relit(answer.parameters, identity)
        if pending.searched or before.changing is None:
            changing = Changing.start(relit)
        else:
            changing = before.changing.advance(self.options, relit, frame.elapsed)
        state = TrackState(
            seconds=frame.seconds,
            thumbnail=frame.thumbnail,
            motion=pending.motion,
            changing=changing,
            identity=identity,
            seen=frame.seconds,
            searched=frame.seconds if pending.searched else before.searched,
            people=max(before.people, identity.person),
        )
        return TrackedFrame(
            seconds=frame.seconds,
            state="detected" if pending.searched else "tracking",
            reconstruction=self._drawn(answer, changing.parameters(identity)),
            answer=answer,
            landmarks=pending.motion.points.astype(np.float32),
            person=identity.person,
            searched=pending.searched,
            next=state,
        )

    def _recognised(self, pending: Pending, answer: Reconstruction) -> Identity:
        """Return the person's means with this answer; those of a new person if it is somebody else."""
        options, frame, before = self.options, pending.frame, pending.frame.before
        parameters, confidence = answer.parameters, answer.confidence
        known = before.identity
        if known is None:
            return Identity.of(parameters, confidence)
        distance = known.distance(parameters)
        strange = known.strange + 1 if distance >= options.stranger else 0
        if pending.searched:
            # A face that was in sight until now, in this shot, may look a little different when found again.
            goes_on = not frame.cut and frame.seconds - before.seen <= options.gap_seconds
            somebody_else = distance >= (options.stranger if goes_on else options.familiar)
        else:
            somebody_else = strange >= _STRANGE_FRAMES
        if somebody_else:
            return Identity.of(parameters, confidence, before.people + 1)
        if strange:
            return replace(known, strange=strange)  # it may be a bad frame: it doesn't count
        return known.settled(parameters, confidence, options.memory)

    def _drawn(self, answer: Reconstruction, parameters: Parameters) -> Reconstruction:
        rendering = render(answer.model, parameters)
        with stage("measure"):
            quality = measure(answer.crop, rendering)
        return replace(answer, parameters=parameters, rendering=rendering, quality=quality)


def _lost(frame: Frame, *, searched: bool) -> TrackedFrame:
    """Return the result of a frame without a face; who was seen before is kept in mind."""
    after = replace(
        frame.before,
        seconds=frame.seconds,
        thumbnail=frame.thumbnail,
        motion=None,
        changing=None,
        searched=frame.seconds if searched else frame.before.searched,
    )
    return TrackedFrame(frame.seconds, "lost", None, None, None, 0, searched, after)

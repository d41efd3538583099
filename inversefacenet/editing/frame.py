"""A part of the photo in which a face is edited, and everything about it that no edit changes.

How the pixels of an edited face are found:
    inside the face   a pixel sees a point of the edited mesh; its colour is the photo's at the place where
                      the present mesh has that point. What the photo doesn't show there is filled from the
                      model, but near the mesh's border, where ears and hair begin, it counts as around the
                      face. The mouth's interior moves with the skull, as teeth do.
    around it         displacement and ratio are carried on smoothly from the face's rim. The displacement
                      falls to nothing within a face's size; the ratio goes as far as the photo's own edges
                      and the skin's hue let it, below the jaw most of all, so that the neck takes part and
                      the background doesn't.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from inversefacenet.camera import Placement, project
from inversefacenet.editing import field_kernels
from inversefacenet.editing.appearance import Appearance
from inversefacenet.editing.compositing import compose
from inversefacenet.editing.matte_kernels import matte, nearest_of
from inversefacenet.editing.mesh_kernels import distance_to_border
from inversefacenet.editing.pull_push import pull_push
from inversefacenet.editing.sampling_view import PhotoSamples
from inversefacenet.editing.skin import neck_place, skin_likeness
from inversefacenet.editing.surface import Recent, Surface
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.rasterizer import Fragments, rasterize

# All of these are in sizes of the face.
_MATTE_REACH: Final = 0.3
_MATTE_RIM: Final = 0.07
_MOTION_REACH: Final = 0.9
_RIM_SLACK: Final = 0.015
# How much of an edge counts for nothing where both sides have the skin's hue.
_SKIN_EASE: Final = np.float32(0.75)
_NECK_EASE: Final = np.float32(0.95)
_MATTE_CONTRAST: Final = 0.3  # summed difference of the sRGB channels
_STRETCH: Final = (0.12, 0.4)  # a surface that was seen at so small a share of its new size is filled
_BORDER: Final = (30.0, 45.0)  # millimetres from the mesh's border between which the face proper begins
_STILL: Final = 0.02  # frame pixels

Field = Float32[np.ndarray, "height width 9"]


@dataclass(frozen=True, eq=False)
class Subject:
    """A face as it lies in the photo.

    Attributes:
        model: The face model.
        placement: Image plane at unit distance to the photo's pixels.
        surface: The present surface.
        samples: What the photo shows of it.
        border: 1 near the mesh's border, 0 far from it.
    """

    model: MorphableModel
    placement: Placement
    surface: Surface
    samples: PhotoSamples
    border: Float32[np.ndarray, "vertices"]

    @property
    def box(self) -> tuple[Float32[np.ndarray, "2"], Float32[np.ndarray, "2"]]:
        """Corners of what the face covers, in the photo's pixels."""
        points = self.surface.screen[:, :2]
        return points.min(axis=0), points.max(axis=0)

    @property
    def size(self) -> float:
        """The longer side of that box."""
        low, high = self.box
        return float((high - low).max())


@lru_cache(maxsize=2)
def near_border(model: MorphableModel) -> Float32[np.ndarray, "vertices"]:
    """Return 1 for vertices near the mesh's border, 0 far from it."""
    distance = distance_to_border(model.mean_geometry, model.triangles)
    near, far = _BORDER
    return np.clip((far - distance) / (far - near), 0, 1).astype(np.float32)


class Frame:
    """A part of a photo, at the resolution in which edits are worked out."""

    def __init__(
        self,
        subject: Subject,
        picture: UInt8[np.ndarray, "height width 3"],
        small: UInt8[np.ndarray, "frame_height frame_width 3"],
        placement: Placement,
    ) -> None:
        """Take a part of the photo.

        Args:
            subject: The face.
            picture: The part that is edited.
            small: The same at the frame's resolution.
            placement: The photo's pixels to the frame's.
        """
        self.subject = subject
        self.picture = picture
        self.placement = placement
        self._small = small
        self._shape = small.shape[0], small.shape[1]
        self._size = subject.size * placement.scale
        self._seen: Recent = Recent()

    def edit(
        self, surface: Surface, appearance: Appearance, *, smooth: bool
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Return the part of the photo with the edited face in it.

        Args:
            surface: The edited surface; the subject's own if it hasn't moved.
            appearance: What becomes of the colours.
            smooth: Keep moved detail sharp, at some cost.
        """
        field = self.field(surface, appearance)
        return compose(self.picture, field, field.shape[1] / self.picture.shape[1], smooth)

    def field(self, surface: Surface, appearance: Appearance) -> Field:
        """Return where each pixel's colour comes from and what becomes of it (`field_kernels`)."""
        model, present = self.subject.model, self.subject.surface
        moved = surface is not present
        fragments = self._fragments(surface)
        place = self.placement.apply(present.screen[:, :2])
        hidden, border = self._hidden(surface)[:, None], self.subject.border[:, None]
        parts = [place, appearance.ratio, hidden * (1 - border), appearance.fill, hidden * border]
        attributes = np.concatenate(parts, axis=1)
        field, mask = field_kernels.gather(
            fragments.triangle,
            fragments.barycentric,
            model.triangles,
            model.mouth_triangles,
            attributes.astype(np.float32),
            self._teeth(surface) if moved else place.astype(np.float32),
            self._mouth_seen,
            moved,
        )
        values, weights = field_kernels.rim_values(
            field, mask, self._outwards, moved, _RIM_SLACK * self._size
        )
        share = np.zeros(weights.shape, np.float32)
        if moved:
            share = self._motion_share(mask, values, weights)
        around = pull_push(values, weights)
        field_kernels.complete(field, mask, around, share, self._matte, moved)
        return field

    def _fragments(self, surface: Surface) -> Fragments:
        def make() -> Fragments:
            screen = surface.screen.copy()
            screen[:, :2] = self.placement.apply(screen[:, :2])
            return rasterize(screen, self.subject.model.triangles, *self._shape)

        return self._seen.get(surface, make)

    def _hidden(self, surface: Surface) -> Float32[np.ndarray, "vertices"]:
        """Return how far each vertex has to be filled, because the photo doesn't show it well enough."""
        present, samples = self.subject.surface, self.subject.samples
        stretch = present.facing / np.maximum(surface.facing, np.float32(0.05))
        good = np.clip((stretch - _STRETCH[0]) / (_STRETCH[1] - _STRETCH[0]), 0, 1)
        return (1 - samples.bare * good * good * (3 - 2 * good)).astype(np.float32)

    def _teeth(self, surface: Surface) -> Float32[np.ndarray, "vertices 2"]:
        """Return where each point of the edited face lay in the photo if it moved with the skull."""
        rigid = surface.vertices @ surface.rotation @ self.subject.surface.rotation.T
        return self.placement.apply(self.subject.placement.apply(project(rigid))).astype(np.float32)

    def _motion_share(
        self,
        mask: Bool[np.ndarray, "height width"],
        values: Float32[np.ndarray, "rows columns 5"],
        weights: Float32[np.ndarray, "rows columns"],
    ) -> Float32[np.ndarray, "rows columns"]:
        """Return how much of the rim's motion each cell of the coarse grid takes part in.

        It falls to nothing with the distance from the face, and just before the frame's border, beyond which
        there is nothing that could move in.
        """
        vectors = nearest_of(field_kernels.coarse_mask(mask))
        distance = 2 * np.sqrt(np.einsum("ijc,ijc->ij", vectors, vectors))
        left = np.clip(1 - distance / (_MOTION_REACH * self._size), 0, 1)
        share = left * left * (3 - 2 * left)
        largest = float(np.abs(values[..., :2]).max(initial=0.0))
        known = weights > 0
        if known.any():
            largest = float(np.abs(values[known][:, :2] / weights[known][:, None]).max())
        rows, columns = weights.shape
        vertical = 2 * np.minimum(np.arange(rows), np.arange(rows)[::-1])
        horizontal = 2 * np.minimum(np.arange(columns), np.arange(columns)[::-1])
        border = np.minimum(vertical[:, None], horizontal[None, :])
        return (share * np.clip(border / max(3 * largest, _STILL), 0, 1)).astype(np.float32)

    @cached_property
    def _outwards(self) -> Float32[np.ndarray, "height width 2"]:
        return nearest_of(~self._fragments(self.subject.surface).mask)

    @cached_property
    def _mouth_seen(self) -> Float32[np.ndarray, "height width"]:
        """How much of the mouth's interior the photo shows at each pixel."""
        model = self.subject.model
        inside = np.append(model.mouth_triangles, False)[self._fragments(self.subject.surface).triangle]
        seen = np.pad(inside.astype(np.float32), 1)
        rows = seen[:-2] + seen[1:-1] + seen[2:]
        return ((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9).astype(np.float32)

    @cached_property
    def _matte(self) -> Float32[np.ndarray, "height width"]:
        mask = self._fragments(self.subject.surface).mask
        inwards = self._outwards
        deep = np.einsum("ijc,ijc->ij", inwards, inwards) > (_MATTE_RIM * self._size) ** 2
        core = deep & mask if (deep & mask).any() else mask
        picture = self._small.astype(np.float32) / 255
        neck = self._neck()
        likeness = skin_likeness(picture, core, neck)
        ease = _SKIN_EASE + (_NECK_EASE - _SKIN_EASE) * neck
        return matte(picture, core, mask, likeness, ease, _MATTE_REACH * self._size, _MATTE_CONTRAST)

    def _neck(self) -> Float32[np.ndarray, "height width"]:
        surface = self.subject.surface
        points = self.placement.apply(surface.screen[self.subject.model.landmarks, :2])
        return neck_place(points, surface.rotation, self._size, self._shape)

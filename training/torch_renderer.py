"""Batched image formation on torch tensors: parameters in, masked crops out (Kim et al. 2018, Section 4.2).

Convention:
    Which triangle a pixel sees is found without gradients; from there the colours are recomputed
    differentiably, so that a photometric loss reaches every parameter through shading, reflectance and
    the barycentric weights, though not through what appears or disappears at a silhouette.
    Pictures are linear RGB until `RenderedCrops.encoded` or `.crops` encodes them.
    Without gradients on a CPU the library's compiled rasterizer draws the same picture, sooner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, UInt8
from torch import Tensor

from inversefacenet.camera import CAMERA_DISTANCE, CROP_SIZE
from inversefacenet.rasterizer import interpolate, rasterize
from training.torch_crop import face_masks
from training.torch_model import PosedFaces, TorchFaceModel, project
from training.torch_rasterizer import barycentric_weights, rasterize_batch
from training.torch_shading import srgb_encode


@dataclass(frozen=True)
class RenderedCrops:
    """A batch of rendered faces, placed as the detector's crops are.

    Attributes:
        linear: Linear RGB of the whole mesh, not clipped and not masked, 0 where no triangle is seen.
        triangles: Index of the triangle that each pixel sees, -1 where there is none.
        masks: The face region: the landmarks' hull less the mouth's interior.
        model_masks: Where the painted region is seen, the mouth's interior left out.
        landmarks: The 68 landmarks in crop pixels, with their noise if there was any.
        scale: Image plane at unit distance to pixels: pixels = scale * point + offset.
        offset: The shift of that mapping.
    """

    linear: Float[Tensor, "batch size size 3"]
    triangles: Int32[Tensor, "batch size size"]
    masks: Bool[Tensor, "batch size size"]
    model_masks: Bool[Tensor, "batch size size"]
    landmarks: Float[Tensor, "batch 68 2"]
    scale: Float[Tensor, "batch"]
    offset: Float[Tensor, "batch 2"]

    @property
    def covered(self) -> Bool[Tensor, "batch size size"]:
        """True where the mesh is seen."""
        return self.triangles >= 0

    def encoded(self) -> Float[Tensor, "batch size size 3"]:
        """Return sRGB in [0, 1], black outside the face region; differentiable."""
        return srgb_encode(self.linear) * self.masks[..., None]

    def crops(self) -> UInt8[Tensor, "batch size size 3"]:
        """Return what the network sees: 8-bit sRGB, black outside the face region."""
        return to_uint8(self.encoded())


def render_crops(
    model: TorchFaceModel,
    theta: Float[Tensor, "batch 350"],
    size: int = CROP_SIZE,
    landmark_noise: Float[Tensor, "batch 68 2"] | None = None,
    triangles: Int32[Tensor, "batch size size"] | None = None,
) -> RenderedCrops:
    """Render faces and place them by their landmarks, as the crops of photos are placed.

    Args:
        model: The face model, on the device of `theta`.
        theta: Parameters; gradients flow back to them if they ask for it.
        size: Side of the crops in pixels.
        landmark_noise: Pixels by which a detector would miss the landmarks. They shift the placement and
            the mask, and leave the parameters true.
        triangles: Visibility found before, to keep it fixed.
    """
    faces = model.pose(theta)
    scale, offset = model.fit_placement(faces.landmarks, size)
    landmarks = faces.landmarks
    if landmark_noise is not None:
        landmarks = landmarks + landmark_noise / scale.detach()[:, None, None]
        scale, offset = model.fit_placement(landmarks, size)
    pixels = landmarks * scale[:, None, None] + offset[:, None]
    points = screen_points(faces.vertices, scale, offset)
    if triangles is None and _is_compiled(points):
        triangles, linear = _draw_compiled(model, faces, points, size)
    else:
        if triangles is None:
            triangles = visible_triangles(model, points, size)
        linear = shade_fragments(model, faces, points, triangles)
    counted = torch.cat([model.counted_triangles, model.counted_triangles.new_zeros(1)])
    return RenderedCrops(
        linear=linear,
        triangles=triangles,
        masks=face_masks(pixels, size),
        # Index -1 (nothing seen) reads the last entry, which is False.
        model_masks=counted[triangles.long()],
        landmarks=pixels,
        scale=scale,
        offset=offset,
    )


def screen_points(
    vertices: Float[Tensor, "3 vertices batch"],
    scale: Float[Tensor, "batch"],
    offset: Float[Tensor, "batch 2"],
) -> Float[Tensor, "3 vertices batch"]:
    """Return planes of x and y in pixels and of inverse depth in 1/mm."""
    pixels = project(vertices) * scale + offset.T[:, None]
    return torch.cat([pixels, 1 / (CAMERA_DISTANCE - vertices[2:])])


def shade_fragments(
    model: TorchFaceModel,
    faces: PosedFaces,
    points: Float[Tensor, "3 vertices batch"],
    triangles: Int32[Tensor, "batch size size"],
) -> Float[Tensor, "batch size size 3"]:
    """Interpolate the vertices' colours over the triangles that the pixels see; differentiable.

    Args:
        model: The face model.
        faces: The posed and shaded faces.
        points: Their `screen_points`.
        triangles: The triangle that each pixel sees, -1 where there is none.

    Returns:
        Linear RGB, 0 where no triangle is seen.
    """
    batch, size, _ = triangles.shape
    seen = triangles.reshape(-1)
    index = (seen >= 0).nonzero().squeeze(1)
    corners = model.corners.view(3, -1).index_select(1, seen[index].long())
    entries = (corners * batch + index // (size * size)).view(-1)
    x, y, inverse_depth, red, green, blue = (
        plane.reshape(-1)[entries].view(3, -1) for plane in (*points, *faces.colours)
    )
    px, py = index % size + 0.5, index // size % size + 0.5
    weights = barycentric_weights(x, y, inverse_depth, px, py)
    colours = torch.stack([(weights * channel).sum(dim=0) for channel in (red, green, blue)], dim=1)
    picture = colours.new_zeros(batch * size * size, 3).index_copy(0, index, colours)
    return picture.view(batch, size, size, 3)


@torch.no_grad()
def visible_triangles(
    model: TorchFaceModel, points: Float[Tensor, "3 vertices batch"], size: int
) -> Int32[Tensor, "batch size size"]:
    """Return the triangle that each pixel sees, -1 where there is none; no gradient passes.

    Args:
        model: The face model.
        points: The faces' `screen_points`.
        size: Side of the pictures in pixels.
    """
    points = points.detach()
    if not _is_compiled(points):
        return rasterize_batch(points.permute(2, 1, 0), model.triangles, size)
    mesh = model.triangles.numpy().astype(np.int32)
    screen = points.permute(2, 1, 0).contiguous().numpy()
    return torch.from_numpy(np.stack([rasterize(face, mesh, size, size).triangle for face in screen]))


def _is_compiled(points: Tensor) -> bool:
    return points.device.type == "cpu" and points.dtype == torch.float32 and not points.requires_grad


def _draw_compiled(
    model: TorchFaceModel, faces: PosedFaces, points: Float[Tensor, "3 vertices batch"], size: int
) -> tuple[Int32[Tensor, "batch size size"], Float[Tensor, "batch size size 3"]]:
    """Return visibility and linear colours, one face after the other, by the library's rasterizer."""
    mesh = model.triangles.numpy().astype(np.int32)
    screen = points.permute(2, 1, 0).contiguous().numpy()
    colours = faces.colours.detach().permute(2, 1, 0).contiguous().numpy()
    fragments = [rasterize(face, mesh, size, size) for face in screen]
    pictures = [interpolate(f, mesh, c) for f, c in zip(fragments, colours, strict=True)]
    triangles = np.stack([f.triangle for f in fragments])
    return torch.from_numpy(triangles), torch.from_numpy(np.stack(pictures))


def to_uint8(encoded: Float[Tensor, "..."]) -> UInt8[Tensor, "..."]:
    """Round sRGB in [0, 1] to 8 bits."""
    return encoded.detach().mul(255).add_(0.5).floor_().to(torch.uint8)

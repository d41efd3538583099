"""The face model on torch tensors: parameters in, shaded vertices out (Kim et al. 2018, Eq. 2 to 4).

Convention:
    Everything is batched and differentiable, on any device and in float32 or float64. Per-vertex
    quantities are planes `[3, vertices, batch]`: one matrix product yields the whole batch, and what
    gathers vertices moves contiguous rows. Axes, units and signs are those of `inversefacenet.camera`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from inversefacenet.camera import CAMERA_DISTANCE, CROP_SIZE, JAW_POINTS
from inversefacenet.crop import KEPT_LANDMARKS
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import EXPRESSION, ILLUMINATION, REFLECTANCE, ROTATION, SHAPE
from training.torch_shading import sh_irradiance


@dataclass(frozen=True)
class PosedFaces:
    """A batch of faces in front of the camera.

    Attributes:
        vertices: Millimetres in camera axes (x right, y up, z to the viewer), one plane per coordinate.
        colours: Linear RGB, reflectance times irradiance, not clipped; one plane per channel.
        landmarks: The 68 landmarks on the image plane at unit distance, jaw points on the contour.
    """

    vertices: Float[Tensor, "3 vertices batch"]
    colours: Float[Tensor, "3 vertices batch"]
    landmarks: Float[Tensor, "batch 68 2"]


class TorchFaceModel(nn.Module):
    """A `MorphableModel` as buffers of a module, so that `.to(device)` and `.to(dtype)` move it."""

    geometry_mean: Tensor
    geometry_directions: Tensor
    reflectance_mean: Tensor
    reflectance_directions: Tensor
    triangles: Tensor
    corners: Tensor
    incident_triangles: Tensor
    incidence_offsets: Tensor
    landmarks: Tensor
    kept_landmarks: Tensor
    contour_candidates: Tensor
    contour_directions: Tensor
    counted_triangles: Tensor

    def __init__(self, model: MorphableModel) -> None:
        super().__init__()
        self.vertex_count = model.vertex_count
        planes = _plane_order(model.vertex_count)
        self._keep("geometry_mean", model.mean_geometry.reshape(-1)[planes, None])
        self._keep("geometry_directions", model.geometry_directions.T[planes])
        self._keep("reflectance_mean", model.mean_reflectance.reshape(-1)[planes, None])
        self._keep("reflectance_directions", model.reflectance_directions.T[planes])
        self._keep("triangles", model.triangles.astype(np.int64))
        # All first corners, then all second, then all third: a gather yields three contiguous blocks.
        self._keep("corners", model.triangles.T.astype(np.int64).reshape(-1))
        triangles, offsets = _incidence(model.triangles, model.vertex_count)
        self._keep("incident_triangles", triangles)
        self._keep("incidence_offsets", offsets)
        self._keep("landmarks", model.landmarks.astype(np.int64))
        self._keep("kept_landmarks", KEPT_LANDMARKS)
        self._keep("contour_candidates", model.contour_candidates.astype(np.int64))
        self._keep("contour_directions", model.contour_directions)
        self._keep("counted_triangles", model.painted & ~model.mouth_triangles)

    def _keep(self, name: str, array: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array).copy()), persistent=False)

    def geometry(
        self, shape: Float[Tensor, "batch 128"], expression: Float[Tensor, "batch 64"]
    ) -> Float[Tensor, "3 vertices batch"]:
        """Return vertices in model space in millimetres (Kim et al. 2018, Eq. 2)."""
        coefficients = torch.cat([shape, expression], dim=1)
        planes = torch.addmm(self.geometry_mean, self.geometry_directions, coefficients.T)
        return planes.view(3, self.vertex_count, -1)

    def reflectance(self, coefficients: Float[Tensor, "batch 128"]) -> Float[Tensor, "3 vertices batch"]:
        """Return linear RGB reflectance, not clipped (Kim et al. 2018, Eq. 3)."""
        planes = torch.addmm(self.reflectance_mean, self.reflectance_directions, coefficients.T)
        return planes.view(3, self.vertex_count, -1)

    def vertex_normals(
        self, vertices: Float[Tensor, "3 vertices batch"]
    ) -> Float[Tensor, "3 vertices batch"]:
        """Return unit normals: the adjacent triangles' mean, weighted by area.

        Each vertex sums its triangles in their order in the mesh, so the result doesn't depend on timing.
        """
        count = self.triangles.shape[0]
        corners = [plane.index_select(0, self.corners).view(3, count, -1) for plane in vertices]
        u = [plane[1] - plane[0] for plane in corners]
        w = [plane[2] - plane[0] for plane in corners]
        facets = [u[i - 2] * w[i - 1] - u[i - 1] * w[i - 2] for i in range(3)]
        normals = torch.stack([self._sum_incident(facet) for facet in facets])
        length = normals.square().sum(dim=0).sqrt()
        # A vertex without area keeps the normal 0, as in the library; 1e-30 only avoids 0 / 0.
        return normals / length.clamp(min=1e-30)

    def _sum_incident(self, facets: Float[Tensor, "triangles batch"]) -> Float[Tensor, "vertices batch"]:
        return nn.functional.embedding_bag(
            self.incident_triangles, facets, self.incidence_offsets, mode="sum"
        )

    def pose(self, theta: Float[Tensor, "batch 350"]) -> PosedFaces:
        """Return a batch of faces in camera axes, shaded (Kim et al. 2018, Eq. 2 to 4)."""
        model_space = self.geometry(theta[:, SHAPE], theta[:, EXPRESSION])
        rotation = rotation_matrix(theta[:, ROTATION])
        vertices = torch.stack([sum_of_products(rotation[:, i].unbind(dim=1), model_space) for i in range(3)])
        light = sh_irradiance(self.vertex_normals(vertices), theta[:, ILLUMINATION].reshape(-1, 9, 3))
        colours = self.reflectance(theta[:, REFLECTANCE]) * light
        return PosedFaces(vertices, colours, self.landmark_points(vertices, theta[:, ROTATION][:, 2]))

    def landmark_points(
        self, vertices: Float[Tensor, "3 vertices batch"], roll: Float[Tensor, "batch"]
    ) -> Float[Tensor, "batch 68 2"]:
        """Project the 68 landmarks; jaw points slide to the visible contour, as a detector's do.

        Args:
            vertices: Vertices in camera axes.
            roll: The heads' roll in radians: the outward directions turn with it.

        Returns:
            Points on the image plane at unit distance, x right, y down.
        """
        fixed = project(vertices[:, self.landmarks[JAW_POINTS:]]).permute(2, 1, 0)
        candidates = project(vertices[:, self.contour_candidates])
        c, s = roll.cos(), roll.sin()
        x, y = self.contour_directions[:, None, 0], self.contour_directions[:, None, 1]
        outward = torch.stack([c * x - s * y, -(s * x + c * y)])
        best = (candidates * outward[:, :, None]).sum(dim=0).argmax(dim=1)
        index = best[None, :, None].expand(2, -1, 1, -1)
        jaw = candidates.gather(2, index)[:, :, 0].permute(2, 1, 0)
        return torch.cat([jaw, fixed], dim=1)

    def fit_placement(
        self, points: Float[Tensor, "batch 68 2"], size: int = CROP_SIZE, margin: float | None = None
    ) -> tuple[Float[Tensor, "batch"], Float[Tensor, "batch 2"]]:
        """Fit the 66 points' bounding boxes uniformly and centred into squares (Section 6.1).

        Args:
            points: The 68 landmarks in any plane with x right and y down.
            size: Side of the square in pixels.
            margin: Free pixels on each side of the longer dimension; by default 1 in 240 pixels.

        Returns:
            Scales and offsets: pixels = scale * point + offset.
        """
        kept = points[:, self.kept_landmarks]
        low, high = kept.amin(dim=1), kept.amax(dim=1)
        free = size / CROP_SIZE if margin is None else margin
        scale = (size - 2 * free) / (high - low).amax(dim=1)
        return scale, size / 2 - scale[:, None] * (low + high) / 2


def rotation_matrix(angles: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3 3"]:
    """Return R = Rz(roll) Rx(pitch) Ry(yaw) (Section 4.2's Rot_xyz in our axes)."""
    ca, cb, cg = angles.cos().unbind(dim=1)
    sa, sb, sg = angles.sin().unbind(dim=1)
    entries = [
        cg * ca - sg * sb * sa,
        -sg * cb,
        cg * sa + sg * sb * ca,
        sg * ca + cg * sb * sa,
        cg * cb,
        sg * sa - cg * sb * ca,
        -cb * sa,
        sb,
        cb * ca,
    ]
    return torch.stack(entries, dim=1).view(-1, 3, 3)


def project(vertices: Float[Tensor, "3 *points"]) -> Float[Tensor, "2 *points"]:
    """Project camera-space planes onto the image plane at unit distance (x right, y down)."""
    depth = CAMERA_DISTANCE - vertices[2]
    return torch.stack([vertices[0] / depth, -vertices[1] / depth])


def sum_of_products(
    weights: tuple[Float[Tensor, "batch"], ...], planes: Float[Tensor, "3 vertices batch"]
) -> Float[Tensor, "vertices batch"]:
    """Return the weighted sum of three planes."""
    return weights[0] * planes[0] + weights[1] * planes[1] + weights[2] * planes[2]


def _plane_order(vertex_count: int) -> Int64[np.ndarray, "coordinates"]:
    """Return the order that takes x0 y0 z0 x1 ... to x0 x1 ... y0 y1 ... z0 z1 ..."""
    return np.arange(3 * vertex_count).reshape(vertex_count, 3).T.reshape(-1)


def _incidence(
    triangles: np.ndarray, vertex_count: int
) -> tuple[Int64[np.ndarray, "entries"], Int64[np.ndarray, "vertices"]]:
    """Return each vertex's triangles, in the mesh's order, and where each vertex's list begins."""
    order = np.argsort(triangles.reshape(-1), kind="stable")
    counts = np.bincount(triangles.reshape(-1), minlength=vertex_count)
    offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return (order // 3).astype(np.int64), offsets.astype(np.int64)

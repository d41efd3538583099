"""Smooth random fields on the face: Gaussian processes in the mesh Laplacian's eigenfunctions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix, csc_matrix, diags
from scipy.sparse.linalg import eigsh


@dataclass(frozen=True)
class SurfaceField:
    """Eigenfunctions of the Laplace-Beltrami operator, the constant one left out.

    Attributes:
        functions: Values at the vertices, mean square 1 over the surface, 0 off it.
        wavelengths: Of each function, in millimetres, falling.
    """

    functions: Float[np.ndarray, "vertices functions"]
    wavelengths: Float[np.ndarray, " functions"]

    def smooth(self, wavelength: float, count: int) -> Float[np.ndarray, "vertices count"]:
        """Return the first functions, scaled so that a sum with standard normal weights has variance 1.

        The variance is 1 at each vertex: left alone it would be several times larger at the rim.

        Args:
            wavelength: Millimetres at which the power spectrum has fallen to a quarter.
            count: How many functions.
        """
        amplitude = 1 / (1 + (wavelength / self.wavelengths[:count]) ** 2)
        functions = self.functions[:, :count] * amplitude
        return functions / np.maximum(np.linalg.norm(functions, axis=1, keepdims=True), 1e-9)


def surface_field(
    vertices: Float[np.ndarray, "vertices 3"], triangles: Int[np.ndarray, "triangles 3"], count: int
) -> SurfaceField:
    """Compute the smoothest functions on a surface.

    Args:
        vertices: Positions in millimetres; those that no triangle uses get 0.
        triangles: The surface's triangles.
        count: How many functions.
    """
    used, local = np.unique(triangles, return_inverse=True)
    corners = local.reshape(-1, 3)
    stiffness, mass = _cotangent_laplacian(vertices[used], corners)
    # A fixed start vector makes the same functions each time; a slightly negative shift keeps the
    # factorisation regular, as the constant function has eigenvalue 0.
    values, functions = eigsh(
        stiffness, k=count + 1, M=diags(mass).tocsc(), sigma=-1e-6, v0=np.linspace(1, 2, len(used))
    )
    order = np.argsort(values)[1:]
    functions = functions[:, order] * np.sqrt(mass.sum())
    functions *= np.sign(functions[np.abs(functions).argmax(axis=0), np.arange(count)])
    everywhere = np.zeros((len(vertices), count))
    everywhere[used] = functions
    return SurfaceField(everywhere, 2 * np.pi / np.sqrt(values[order]))


def _cotangent_laplacian(
    vertices: Float[np.ndarray, "vertices 3"], triangles: Int[np.ndarray, "triangles 3"]
) -> tuple[csc_matrix, Float[np.ndarray, " vertices"]]:
    """Return the stiffness matrix (positive semi-definite) and the lumped masses in mm²."""
    count = len(vertices)
    weights = csc_matrix((count, count))
    mass = np.zeros(count)
    for corner in range(3):
        a, b, c = (triangles[:, (corner + i) % 3] for i in range(3))
        u, v = vertices[b] - vertices[a], vertices[c] - vertices[a]
        double_area = np.linalg.norm(np.cross(u, v), axis=1) + 1e-9
        # Slivers have cotangents without bound.
        cotangent = np.clip((u * v).sum(axis=1) / double_area, -20, 20) / 2
        pairs = (np.concatenate([b, c]), np.concatenate([c, b]))
        weights = weights + coo_matrix((np.tile(cotangent, 2), pairs), shape=weights.shape).tocsc()
        np.add.at(mass, a, double_area / 6)
    degree = np.asarray(weights.sum(axis=1)).ravel()
    return diags(degree).tocsc() - weights, np.maximum(mass, 1e-4)

"""Turns parameters into a picture or a mesh; runs in the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from inversefacenet.errors import ExportError, LandmarkError, ParameterError
from inversefacenet.stages import stage
from services.gateway.answers import mesh_file, picture_file
from services.gateway.jobs import Form, RenderJob

if TYPE_CHECKING:
    from inversefacenet.morphable_model import MorphableModel
    from services.gateway.schemas import ModelInfo
_LARGEST_MILLIMETRES: Final = 1e6


def answer_rendering(model: MorphableModel, info: ModelInfo, job: RenderJob) -> tuple[bytes, str]:
    """Return a picture's or mesh's file and its media type.

    Args:
        model: The face model.
        info: What answers say of the network; a file alone has no place for it.
        job: What is wanted.

    Raises:
        ParameterError: If the numbers are so large that there is no face to show.
    """
    from inversefacenet.export import face_mesh
    from inversefacenet.visualisation import face_picture

    output = job.output
    # Numbers from outside may overflow on their way; what comes of it is looked at, not warned of.
    with np.errstate(all="ignore"):
        try:
            if output.form is Form.MESH:
                with stage("geometry"):
                    mesh = face_mesh(model, job.parameters, output.mesh_space, output.mesh_colours)
                # Beyond this the normals overflow; NaN is caught as well.
                if not np.abs(mesh.vertices).max() < _LARGEST_MILLIMETRES:
                    raise ExportError("The mesh is larger than any face.")
                with stage("encode"):
                    file = mesh_file(mesh, output, "face")
            else:
                with stage("render"):
                    picture = face_picture(
                        model,
                        job.parameters,
                        output.size,
                        geometry=job.geometry,
                        background=job.background,
                    )
                file = picture_file("face.png", picture)
        except (ExportError, LandmarkError) as error:
            raise ParameterError(
                "These parameters lead to no face: shape, expression and reflectance count standard "
                "deviations, rotations are in radians."
            ) from error
    return file.content, file.media_type

"""Photo in, faces out: the one use case that everything else serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.backends import InferenceBackend
from inversefacenet.camera import Placement
from inversefacenet.crop import FaceCrop, crop_face
from inversefacenet.landmarks import Face
from inversefacenet.metrics import Quality, measure
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import Rendering, render


@runtime_checkable
class Detector(Protocol):
    """Finds faces and their 68 landmarks."""

    def detect(
        self, image: UInt8[np.ndarray, "height width 3"], *, faces: Literal["largest", "all"]
    ) -> list[Face]:
        """Return the largest face or all, largest first; raises NoFaceError if there is none."""
        ...


@dataclass(frozen=True)
class Reconstruction:
    """One face of a photo.

    Attributes:
        face: Where the detector found it.
        crop: The masked crop that the network saw.
        parameters: What the network answered.
        model: The face model that gives the parameters their meaning.
        rendering: The parameters rendered into the crop's frame, placed by the model's own landmarks.
        quality: How well the rendering explains the crop.
    """

    face: Face
    crop: FaceCrop
    parameters: Parameters
    model: MorphableModel
    rendering: Rendering
    quality: Quality

    @property
    def photo_placement(self) -> Placement:
        """Image plane at unit distance to the photo's pixels: no fit to this photo is involved."""
        return self.rendering.placement.then(self.crop.placement.inverse())

    def photo_points(self) -> Float32[np.ndarray, "vertices 2"]:
        """Return all vertices in the photo's continuous pixel coordinates."""
        return self.crop.placement.inverse().apply(self.rendering.points())

    def photo_landmarks(self) -> Float32[np.ndarray, "68 2"]:
        """Return the model's 68 landmarks in the photo's continuous pixel coordinates."""
        return self.crop.placement.inverse().apply(self.rendering.landmarks)

    def geometry(self) -> Float32[np.ndarray, "vertices 3"]:
        """Return the face in model space: millimetres, looking along +z (Eq. 2)."""
        return self.model.geometry(self.parameters.shape, self.parameters.expression)

    def reflectance(self) -> Float32[np.ndarray, "vertices 3"]:
        """Return per-vertex linear RGB reflectance in [0, 1] (Eq. 3)."""
        return np.clip(self.model.reflectance(self.parameters.reflectance), 0, 1)


class Reconstructor:
    """The pipeline from photo to faces.

    One instance may be shared between threads if its detector and backend may be; the defaults may.
    """

    def __init__(
        self,
        detector: Detector | None = None,
        backend: InferenceBackend | None = None,
        model: MorphableModel | None = None,
    ) -> None:
        """Load what isn't given.

        Args:
            detector: By default dlib's (`inversefacenet.landmarks.FaceDetector`).
            backend: By default ONNX Runtime in the process (`inversefacenet.backends.onnx`).
            model: By default the open face model that ships with the package.
        """
        if detector is None:
            from inversefacenet.landmarks import FaceDetector

            detector = FaceDetector()
        if backend is None:
            from inversefacenet.backends.onnx import OnnxBackend

            backend = OnnxBackend()
        self.detector = detector
        self.backend = backend
        self.model = model or MorphableModel.load_default()

    def reconstruct(
        self, image: UInt8[np.ndarray, "height width 3"], faces: Literal["largest", "all"] = "largest"
    ) -> list[Reconstruction]:
        """Reconstruct the faces of a photo.

        Args:
            image: An sRGB photo, upright.
            faces: Only the largest face, or all of them.

        Returns:
            The faces, largest first; never empty.

        Raises:
            NoFaceError: If the photo shows no face that the detector finds.
            BackendError: If the network can't answer.
        """
        return self.reconstruct_faces(image, self.detector.detect(image, faces=faces))

    def reconstruct_faces(
        self, image: UInt8[np.ndarray, "height width 3"], faces: Sequence[Face]
    ) -> list[Reconstruction]:
        """Reconstruct faces whose landmarks are known, in one pass of the network."""
        crops = [crop_face(image, face.landmarks) for face in faces]
        if not crops:
            return []
        thetas = self.backend.infer(np.stack([crop.image for crop in crops]))
        return [
            self._finish(face, crop, Parameters.from_vector(theta))
            for face, crop, theta in zip(faces, crops, thetas, strict=True)
        ]

    def _finish(self, face: Face, crop: FaceCrop, parameters: Parameters) -> Reconstruction:
        rendering = render(self.model, parameters)
        return Reconstruction(face, crop, parameters, self.model, rendering, measure(crop, rendering))

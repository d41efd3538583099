"""Photo in, faces out: the one use case that everything else serves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.backends import InferenceBackend
from inversefacenet.camera import Placement
from inversefacenet.confidence import ConfidenceModel, quality_block
from inversefacenet.crop import FaceCrop, crop_face
from inversefacenet.errors import ImageError
from inversefacenet.fitting import FitOptions, fit
from inversefacenet.landmarks import Face
from inversefacenet.metrics import Quality, measure
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import Rendering, render
from inversefacenet.stages import stage


@runtime_checkable
class Detector(Protocol):
    """Finds faces and their 68 landmarks."""

    def detect(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        *,
        faces: Literal["largest", "all"],
        minimum_size: float | None = None,
        limit: int | None = None,
    ) -> list[Face]:
        """Return the largest face or all, largest first; raises NoFaceError if there is none."""
        ...


@dataclass(frozen=True)
class FoundFace:
    """A face that the network has not seen yet.

    Attributes:
        face: Where it lies in the photo.
        crop: The masked crop that the network is to see.
        photo_size: Width and height of the photo; None for a crop that came without one.
    """

    face: Face
    crop: FaceCrop
    photo_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Reconstruction:
    """One face of a photo.

    Attributes:
        face: Where the detector found it.
        crop: The masked crop that the network saw.
        parameters: What the network answered, or what was refined from it.
        model: The face model that gives the parameters their meaning.
        rendering: The parameters rendered into the crop's frame, placed by the model's own landmarks.
        quality: How well the rendering explains the crop.
        confidence: Probability that the network's answer is usable (`inversefacenet.confidence`), which a
            refinement doesn't change; NaN where the photo's landmarks are not known.
        before: The quality of the network's own answer, if this one is refined.
        photo_size: Width and height of the photo; None where they are not known.
    """

    face: Face
    crop: FaceCrop
    parameters: Parameters
    model: MorphableModel
    rendering: Rendering
    quality: Quality
    confidence: float = math.nan
    before: Quality | None = None
    photo_size: tuple[int, int] | None = None

    def check_photo(self, image: UInt8[np.ndarray, "height width 3"]) -> None:
        """Refuse a photo that can't be the one of which this is a face.

        Raises:
            ImageError: If it has another size.
        """
        size = image.shape[1], image.shape[0]
        if self.photo_size is not None and self.photo_size != size:
            known = f"{self.photo_size[0]} x {self.photo_size[1]}"
            raise ImageError(
                f"This photo has {size[0]} x {size[1]} pixels, the one that was reconstructed {known}: "
                "give that one, as it was reconstructed."
            )

    def assessment(self) -> dict[str, float | str]:
        """Return the quality block as every interface writes it: measures, confidence, verdict."""
        return quality_block(self.quality, self.confidence)

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
        self,
        image: UInt8[np.ndarray, "height width 3"],
        faces: Literal["largest", "all"] = "largest",
        *,
        minimum_size: float | None = None,
    ) -> list[Reconstruction]:
        """Reconstruct the faces of a photo.

        Args:
            image: An sRGB photo, upright.
            faces: Only the largest face, or all of them.
            minimum_size: Least width of a face in photo pixels; by default the detector's own limit.

        Returns:
            The faces, largest first; never empty.

        Raises:
            NoFaceError: If the photo shows no face that the detector finds.
            BackendError: If the network can't answer.
        """
        return self._complete(self.find(image, faces, minimum_size=minimum_size))

    def reconstruct_faces(
        self, image: UInt8[np.ndarray, "height width 3"], faces: Sequence[Face]
    ) -> list[Reconstruction]:
        """Reconstruct faces whose landmarks are known, in one pass of the network."""
        return self._complete(self.cut(image, faces))

    def find(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        faces: Literal["largest", "all"] = "largest",
        *,
        minimum_size: float | None = None,
        limit: int | None = None,
    ) -> list[FoundFace]:
        """Do what comes before the network: find the faces of a photo and cut them out.

        Args:
            image: An sRGB photo, upright.
            faces: Only the largest face, or all of them.
            minimum_size: Least width of a face in photo pixels; by default the detector's own limit.
            limit: Keep the largest faces only, at most so many.

        Raises:
            NoFaceError: If the photo shows no face that the detector finds.
        """
        found = self.detector.detect(image, faces=faces, minimum_size=minimum_size, limit=limit)
        return self.cut(image, found)

    def cut(self, image: UInt8[np.ndarray, "height width 3"], faces: Sequence[Face]) -> list[FoundFace]:
        """Cut out faces whose landmarks are known.

        Raises:
            LandmarkError: If the landmarks of one are none.
        """
        with stage("crop"):
            size = image.shape[1], image.shape[0]
            return [FoundFace(face, crop_face(image, face.landmarks), size) for face in faces]

    def infer(
        self, found: Sequence[FoundFace], *, timeout: float | None = None
    ) -> Float32[np.ndarray, "faces 350"]:
        """Ask the network for the parameters of all faces at once.

        Raises:
            BackendError: If it can't answer.
            DeadlineError: If it doesn't within `timeout` seconds.
        """
        with stage("infer"):
            return self.backend.infer(stack_crops(found), timeout=timeout)

    def finish(
        self, found: Sequence[FoundFace], thetas: Float32[np.ndarray, "faces 350"]
    ) -> list[Reconstruction]:
        """Do what comes after the network: render and measure each face."""
        return [
            self._finish(one, Parameters.from_vector(theta)) for one, theta in zip(found, thetas, strict=True)
        ]

    def refine(
        self, reconstruction: Reconstruction, iterations: int = 10, options: FitOptions | None = None
    ) -> Reconstruction:
        """Refine an answer until its rendering explains the photo: analysis by synthesis.

        Args:
            reconstruction: What the network answered, or an earlier refinement.
            iterations: Most steps that are taken; some 0.1 s each.
            options: Weights of the fit's terms; their own number of iterations doesn't count.

        Returns:
            The refined face: parameters, rendering and quality, and the quality from before.

        Raises:
            InputError: If the number of iterations is negative.
            ImageError: If the crop's face region is empty.
        """
        options = replace(options or FitOptions(), iterations=iterations)
        with stage("refine"):
            found = fit(reconstruction.model, reconstruction.crop, reconstruction.parameters, options)
        rendering = render(reconstruction.model, found.parameters)
        with stage("measure"):
            quality = measure(reconstruction.crop, rendering)
        return replace(
            reconstruction,
            parameters=found.parameters,
            rendering=rendering,
            quality=quality,
            before=reconstruction.before or reconstruction.quality,
        )

    def _complete(self, found: Sequence[FoundFace]) -> list[Reconstruction]:
        return self.finish(found, self.infer(found)) if found else []

    def _finish(self, found: FoundFace, parameters: Parameters) -> Reconstruction:
        rendering = render(self.model, parameters)
        with stage("measure"):
            quality = measure(found.crop, rendering)
            sure = ConfidenceModel.for_network(self.backend.digest).confidence(
                found.face, found.crop, rendering, quality
            )
        return Reconstruction(
            found.face,
            found.crop,
            parameters,
            self.model,
            rendering,
            quality,
            sure,
            photo_size=found.photo_size,
        )


def stack_crops(found: Sequence[FoundFace]) -> UInt8[np.ndarray, "faces 240 240 3"]:
    """Return what the network takes: the masked crops, one behind the other."""
    return np.stack([one.crop.image for one in found])

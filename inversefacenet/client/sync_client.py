"""The client for programs that wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import numpy as np
from jaxtyping import Float

from inversefacenet.client.address import Tls
from inversefacenet.client.connection import Entry, check_timeout, make_setup, open_connection
from inversefacenet.client.edits import EditOptions, EditResult, EditSettings, EditSpec, Other, edit_job
from inversefacenet.client.errors import ServiceUnavailableError
from inversefacenet.client.many import Limits, Outcome, reconstruct_many
from inversefacenet.client.requests import (
    Colour,
    MeshColours,
    MeshFormat,
    MeshSpace,
    Photo,
    PhotoOptions,
    check_options,
    photo_job,
    render_job,
)
from inversefacenet.client.results import Model, ReconstructionResult
from inversefacenet.client.retry import Deadline, OnWait, RefusedError, with_retries
from inversefacenet.client.tracking import Frame, FrameAnswer, FrameConnection, TrackOptions, over_grpc
from inversefacenet.errors import InverseFaceNetError
from inversefacenet.parameters import Parameters

if TYPE_CHECKING:
    from inversefacenet.editing import Edit

Answer = TypeVar("Answer")

IN_FLIGHT = 8
"""How many of many photos are on their way at once, unless told otherwise."""


class Client:
    """A service of faces, over REST or gRPC.

    One object serves all threads of a process, over one pool of connections; close it, or use it in a `with`
    statement. Requests that were refused, or that the server can't have received as a whole, are sent again
    as often as `retries` says, after the time that the server names, within `timeout`; others never, so that
    nothing is charged twice.

    Where the server names a problem that the library has a class for, such as `NoFaceError`, that is raised.
    What the server said is the `ServerError` at `error.__cause__`: `error.__cause__.request_id` names the
    request in the server's log, and a traceback shows it as a note.
    """

    def __init__(
        self,
        server: str,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        tls: Tls | None = None,
        transport: Any = None,
        allow_plaintext: bool = False,
        on_wait: OnWait | None = None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            server: `http://host:port`, `https://host`, `grpc://host:port` or `grpcs://host:port`.
            api_key: Who calls. It is refused where it would cross a network in the clear.
            timeout: Seconds that each request may take, with all its retries. The server hears of it, and
                stops working when it is over.
            retries: How many further attempts a refused request gets.
            tls: Certificates, if those of the system don't do.
            transport: Carries the requests in place of what would be opened: an `httpx.BaseTransport` or a
                `grpc.Channel`.
            allow_plaintext: Send the key although nothing here encrypts the connection.
            on_wait: Called before each pause after which a request is sent again, with its seconds and the
                error that would have been raised otherwise; by any thread, several at once.

        Raises:
            ConnectionSettingsError: If address, key or certificates can't be used.
            MissingDependencyError: If a package isn't installed; the message names the extra that brings it.
        """
        self._setup = make_setup(
            server,
            api_key,
            timeout,
            retries,
            tls,
            transport,
            allow_plaintext=allow_plaintext,
            on_wait=on_wait,
        )
        self._timeout = timeout
        self._connection = open_connection(self._setup)
        self._closed = False

    def reconstruct(
        self, photo: Photo, *, timeout: float | None = None, **options: Unpack[PhotoOptions]
    ) -> ReconstructionResult:
        """Reconstruct the faces of a photo.

        Args:
            photo: The bytes of an image file, the `pathlib.Path` of one, or an https address as text, from
                which the server fetches it, if it does that.
            timeout: Seconds, in place of the client's.
            **options: See `PhotoOptions`.

        Raises:
            NoFaceError: If the photo shows no face that the detector finds.
            ImageError: If the photo can't be used.
            InputError: If an option can't.
            DeadlineError: If the answer doesn't come in time.
            ServiceUnavailableError: If the server can't be reached.
            ServerError: If it answers with another problem.
        """
        job = photo_job(photo, options)
        return self._ask(lambda deadline: self._connection.reconstruct(job, deadline), timeout)

    def reconstruct_many(
        self,
        photos: Iterable[Photo],
        *,
        in_flight: int = IN_FLIGHT,
        timeout: float | None = None,
        **options: Unpack[PhotoOptions],
    ) -> Iterator[tuple[int, Outcome]]:
        """Reconstruct many photos, several at once.

        Args:
            photos: As for `reconstruct`; any number, taken as they are needed.
            in_flight: How many may be on their way, or answered and not yet taken.
            timeout: Seconds in which each must be answered, in place of the client's.
            **options: See `PhotoOptions`; the same for all.

        Yields:
            The place of a photo, from 0, and its faces or the error that `reconstruct` would have raised; as
            they come, in any order.
        """
        check_options(options)
        limits = Limits(in_flight, min(self._connection.group, in_flight), self._seconds(timeout))

        def alone(entry: Entry) -> ReconstructionResult:
            def attempt(deadline: Deadline) -> ReconstructionResult:
                return self._connection.reconstruct(entry.job, deadline)

            return with_retries(attempt, entry.deadline, self._setup.retries, self._setup.on_wait)

        return reconstruct_many(
            photos,
            lambda photo: photo_job(photo, options),
            lambda: self._connection.lane(in_flight),
            alone,
            limits,
        )

    def render(
        self,
        parameters: Parameters | Float[np.ndarray, "350"],
        *,
        mesh_format: MeshFormat | None = None,
        mesh_space: MeshSpace | None = None,
        mesh_colours: MeshColours | None = None,
        size: int | None = None,
        geometry: bool = False,
        background: Colour | None = (0, 0, 0),
        timeout: float | None = None,
    ) -> bytes:
        """Draw a face.

        Args:
            parameters: The face.
            mesh_format: Return its mesh in this format; without it a PNG picture, placed as in a crop.
            mesh_space: The mesh's head looking straight ahead ("model") or turned ("camera").
            mesh_colours: The mesh's colours: "reflectance", or "shaded".
            size: Side of the picture in pixels; by default 480.
            geometry: Show the geometry alone, in plain grey.
            background: sRGB of what the face doesn't cover; None leaves it transparent.
            timeout: Seconds, in place of the client's.

        Returns:
            The file; OBJ comes as a ZIP archive with its material.

        Raises:
            ParameterError: If the parameters can't be used.
            InverseFaceNetError: As `reconstruct`.
        """
        job = render_job(parameters, mesh_format, mesh_space, mesh_colours, size, geometry, background)
        return self._ask(lambda deadline: self._connection.render(job, deadline), timeout)

    def edit(
        self,
        photo: Photo,
        edits: Iterable[EditSpec | Edit],
        *,
        others: Mapping[str, Other] | None = None,
        timeout: float | None = None,
        **settings: Unpack[EditSettings],
    ) -> EditResult:
        """Edit the faces of a photo.

        Args:
            photo: As for `reconstruct`.
            edits: What to change, in this order: edits of `inversefacenet.editing`, or plain data such as
                ``{"edit": "relight", "light": "left"}``.
            others: Faces that edits take something from, by the names that the edits call them: photos, whose
                largest face counts, or parameters.
            timeout: Seconds, in place of the client's.
            **settings: See `EditSettings`.

        Returns:
            The whole photo with the edited faces in it, and their parameters.

        Raises:
            EditError: If an edit can't be used; the message says which, and lists known names.
            InverseFaceNetError: As `reconstruct`.
        """
        job = edit_job(photo, edits, others, **settings)
        return self._ask(lambda deadline: self._connection.edit(job, deadline), timeout)

    def edit_options(self, *, timeout: float | None = None) -> EditOptions:
        """Return what edits may name at the server: lights and units of expression."""
        return self._ask(lambda deadline: self._connection.edit_options(deadline), timeout)

    def track(
        self,
        frames: Iterable[Frame],
        *,
        minimum_size: float | None = None,
        least_confidence: float | None = None,
        single_frames: bool = False,
    ) -> Iterator[FrameAnswer]:
        """Follow the face of a video.

        Args:
            frames: Times in seconds, which never fall, and image files as bytes; taken as the server has room
                for them, by another thread.
            minimum_size: Least width of a face in pixels, 0 to 10000.
            least_confidence: An answer that is less sure doesn't count: the face is lost.
            single_frames: Ask also for what the network says of each frame alone.

        Yields:
            The answer to each frame, in turn; one that can't be answered has an `error`.

        Raises:
            ConnectionSettingsError: If the server's address isn't one of gRPC, which this needs.
            InputError: If an option can't be used.
            ServiceUnavailableError: If the server can't be reached, or ends the stream; after ten minutes it
                does so, and a new stream knows nothing of the last one.
        """
        self._check_open()
        if not isinstance(self._connection, FrameConnection):
            raise over_grpc()
        options = TrackOptions(minimum_size, least_confidence, single_frames)
        return self._connection.track(iter(frames), options)

    def models(self, *, timeout: float | None = None) -> tuple[Model, ...]:
        """Return the networks that answer at the server."""
        return self._ask(lambda deadline: self._connection.models(deadline), timeout)

    def ready(self, *, timeout: float | None = None) -> bool:
        """Return whether the server says that it can answer photos; False if it says nothing at all."""
        try:
            return self._connection.ready(Deadline.after(self._seconds(timeout)))
        except (RefusedError, InverseFaceNetError):
            return False

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._setup.address.text!r})"

    def _ask(self, attempt: Callable[[Deadline], Answer], timeout: float | None) -> Answer:
        deadline = Deadline.after(self._seconds(timeout))
        return with_retries(attempt, deadline, self._setup.retries, self._setup.on_wait)

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceUnavailableError("This client is closed: make a new one.")

    def _seconds(self, timeout: float | None) -> float:
        self._check_open()
        return self._timeout if timeout is None else check_timeout(timeout)

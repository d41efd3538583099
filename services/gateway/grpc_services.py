"""The methods of `proto/inversefacenet/v1`: messages in, the workers' bytes out.

All are registered as taking a stream of raw bytes, the unary ones too: a method then decides whether a call
is welcome before its message is received, and what a worker has serialized is passed on as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc

from inversefacenet.v1 import editing_pb2, model_pb2, reconstruction_pb2, rendering_pb2, tracking_pb2
from services.gateway.access import Caller
from services.gateway.admission import charged, identify
from services.gateway.context import current_request_id
from services.gateway.deadline import Deadline
from services.gateway.gateway import Gateway
from services.gateway.grpc_edits import photos_of, understood_edit, with_photos
from services.gateway.grpc_messages import (
    AnyMessage,
    Context,
    caller_name,
    count,
    deadline_of,
    metadata_of,
    read_message,
)
from services.gateway.grpc_photos import understood_photo, with_photo
from services.gateway.grpc_places import shared_places
from services.gateway.grpc_requests import render_job
from services.gateway.grpc_stream import PhotoStream
from services.gateway.grpc_tracking import TrackStream
from services.gateway.jobs import EditJob, PhotoJob
from services.gateway.protobuf import encode_rendering, model_message
from services.gateway.protobuf_edits import options_message
from services.gateway.uploads import Uploads

RECONSTRUCTION: Final = reconstruction_pb2.DESCRIPTOR.services_by_name["ReconstructionService"].full_name
RENDERING: Final = rendering_pb2.DESCRIPTOR.services_by_name["RenderingService"].full_name
MODELS: Final = model_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
EDITING: Final = editing_pb2.DESCRIPTOR.services_by_name["EditingService"].full_name
TRACKING: Final = tracking_pb2.DESCRIPTOR.services_by_name["TrackingService"].full_name
SERVICES: Final = (RECONSTRUCTION, RENDERING, EDITING, TRACKING, MODELS)


class Methods:
    """Answers calls with the gateway's engine."""

    def __init__(self, gateway: Gateway, leaving: asyncio.Event) -> None:
        """Take what the methods work with.

        Args:
            gateway: Engine, keys and limits.
            leaving: Set once the service takes no new work.
        """
        self._gateway = gateway
        self._leaving = leaving
        # An open stream can receive a photo at any time, so it counts for as long as it is open.
        self._streams = Uploads(gateway.settings.uploads)
        self._places = shared_places(gateway.settings)

    def handlers(self) -> tuple[grpc.GenericRpcHandler[Any, Any], ...]:
        """Return all methods by service, ready to be added to a server."""
        unary = grpc.stream_unary_rpc_method_handler
        table = {
            RECONSTRUCTION: {
                "Reconstruct": unary(self.reconstruct),
                "ReconstructStream": grpc.stream_stream_rpc_method_handler(self.reconstruct_stream),
            },
            RENDERING: {"Render": unary(self.render)},
            EDITING: {"Edit": unary(self.edit), "GetEditOptions": unary(self.get_edit_options)},
            TRACKING: {"Track": grpc.stream_stream_rpc_method_handler(self.track)},
            MODELS: {"ListModels": unary(self.list_models), "GetModel": unary(self.get_model)},
        }
        return tuple(grpc.method_handlers_generic_handler(*entry) for entry in table.items())

    async def reconstruct(self, _: Any, context: Context) -> bytes:
        """Reconstruct one photo."""
        gateway = self._gateway
        deadline = deadline_of(context, gateway.settings.request_timeout)
        caller = self._admit(context)
        job, url = await self._photo(context, deadline)
        with charged(gateway, caller):
            job = await with_photo(gateway, job, url, deadline)
            answered = await gateway.engine.reconstruct(job, deadline)
        count("bytes_out", len(answered.content))
        return answered.content

    async def _photo(self, context: Context, deadline: Deadline) -> tuple[PhotoJob, str | None]:
        """Receive a photo; the message that it came in is let go, for it may be large."""
        kind = reconstruction_pb2.ReconstructRequest
        request = await read_message(self._gateway, context, kind, deadline)
        return understood_photo(self._gateway, request)

    async def reconstruct_stream(self, _: Any, context: Context) -> None:
        """Reconstruct many photos."""
        await self._stream(context, PhotoStream)

    async def track(self, _: Any, context: Context) -> None:
        """Follow the face of a video."""
        await self._stream(context, TrackStream)

    async def _stream(self, context: Context, kind: type[PhotoStream]) -> None:
        caller = self._admit(context)
        with self._streams.receiving():
            await context.send_initial_metadata(context.trailing_metadata())
            await kind(self._gateway, caller, context, self._places, self._leaving).run()

    async def render(self, _: Any, context: Context) -> bytes:
        """Draw one face."""
        gateway = self._gateway
        deadline = deadline_of(context, gateway.settings.request_timeout)
        caller = self._admit(context)
        request = await read_message(gateway, context, rendering_pb2.RenderRequest, deadline)
        job = render_job(request, current_request_id() or "")
        # It keeps a worker as busy as a photo does.
        with charged(gateway, caller):
            answered = await gateway.engine.render(job, deadline)
        model = gateway.engine.model
        content = encode_rendering(answered.content, answered.media_type, job.output, model)
        count("bytes_out", len(content))
        return content

    async def edit(self, _: Any, context: Context) -> bytes:
        """Edit one photo."""
        gateway = self._gateway
        deadline = deadline_of(context, gateway.settings.request_timeout)
        caller = self._admit(context)
        job, addresses = await self._edit(context, deadline)
        count("photos", photos_of(job))
        with charged(gateway, caller, photos_of(job)):
            job = await with_photos(gateway, job, addresses, deadline)
            answered = await gateway.engine.reconstruct(job, deadline)
        count("bytes_out", len(answered.content))
        return answered.content

    async def _edit(self, context: Context, deadline: Deadline) -> tuple[EditJob, Mapping[str, str]]:
        """Receive photos and edits; the message that they came in is let go, for it may be large."""
        request = await read_message(self._gateway, context, editing_pb2.EditRequest, deadline)
        return understood_edit(self._gateway, request)

    async def get_edit_options(self, _: Any, context: Context) -> bytes:
        """List what edits may name."""
        await self._ask(context, editing_pb2.GetEditOptionsRequest)
        deadline = deadline_of(context, self._gateway.settings.request_timeout)
        found = await self._gateway.engine.edit_options(deadline)
        return options_message(found).SerializeToString()

    async def list_models(self, _: Any, context: Context) -> bytes:
        """List the networks that answer here."""
        await self._ask(context, model_pb2.ListModelsRequest)
        models = [model_message(model) for model in self._gateway.engine.models()]
        return model_pb2.ListModelsResponse(models=models).SerializeToString()

    async def get_model(self, _: Any, context: Context) -> bytes:
        """Describe one network."""
        request = await self._ask(context, model_pb2.GetModelRequest)
        model = self._gateway.engine.find_model(request.name)
        return model_pb2.GetModelResponse(model=model_message(model)).SerializeToString()

    def _admit(self, context: Context) -> Caller:
        """Return who calls, if there is room for the work that they ask for."""
        caller = self._identify(context)
        self._gateway.engine.check_room()
        return caller

    def _identify(self, context: Context) -> Caller:
        caller = identify(self._gateway, metadata_of(context))
        caller_name.set(caller.name)
        return caller

    async def _ask(self, context: Context, kind: Callable[[], AnyMessage]) -> AnyMessage:
        """Return the message of a call that asks for no work."""
        self._identify(context)
        deadline = deadline_of(context, self._gateway.settings.request_timeout)
        return await read_message(self._gateway, context, kind, deadline)

"""The methods of the service, and of gRPC's own health service, on a channel of either kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from grpc_health.v1 import health_pb2

from inversefacenet.v1 import editing_pb2, model_pb2, reconstruction_pb2, rendering_pb2, tracking_pb2

_PACKAGE: Final = "/inversefacenet.v1."


class Methods:
    """What can be called; how, depends on whether the channel is for asyncio."""

    def __init__(self, channel: Any) -> None:
        """Name the methods; nothing is sent."""

        def method(kind: Callable[..., Any], path: str, request: Any, response: Any) -> Any:
            return kind(
                path, request_serializer=request.SerializeToString, response_deserializer=response.FromString
            )

        unary = channel.unary_unary
        self.reconstruct = method(
            unary,
            f"{_PACKAGE}ReconstructionService/Reconstruct",
            reconstruction_pb2.ReconstructRequest,
            reconstruction_pb2.ReconstructResponse,
        )
        self.stream = method(
            channel.stream_stream,
            f"{_PACKAGE}ReconstructionService/ReconstructStream",
            reconstruction_pb2.ReconstructStreamRequest,
            reconstruction_pb2.ReconstructStreamResponse,
        )
        self.render = method(
            unary,
            f"{_PACKAGE}RenderingService/Render",
            rendering_pb2.RenderRequest,
            rendering_pb2.RenderResponse,
        )
        self.edit = method(
            unary,
            f"{_PACKAGE}EditingService/Edit",
            editing_pb2.EditRequest,
            editing_pb2.EditResponse,
        )
        self.edit_options = method(
            unary,
            f"{_PACKAGE}EditingService/GetEditOptions",
            editing_pb2.GetEditOptionsRequest,
            editing_pb2.GetEditOptionsResponse,
        )
        self.track = method(
            channel.stream_stream,
            f"{_PACKAGE}TrackingService/Track",
            tracking_pb2.TrackRequest,
            tracking_pb2.TrackResponse,
        )
        self.models = method(
            unary,
            f"{_PACKAGE}ModelService/ListModels",
            model_pb2.ListModelsRequest,
            model_pb2.ListModelsResponse,
        )
        self.check = method(
            unary,
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest,
            health_pb2.HealthCheckResponse,
        )

"""From a `ReconstructRequest` to the job of a worker, wherever the photo comes from."""

from __future__ import annotations

import dataclasses

from inversefacenet.v1 import reconstruction_pb2
from services.gateway.context import current_request_id
from services.gateway.deadline import Deadline
from services.gateway.errors import InputDisabledError
from services.gateway.gateway import Gateway
from services.gateway.grpc_requests import FieldError, photo_job
from services.gateway.jobs import PhotoJob


async def received_photo(
    gateway: Gateway, request: reconstruction_pb2.ReconstructRequest, deadline: Deadline
) -> PhotoJob:
    """Return what a worker is to do; the message isn't needed any more then.

    Args:
        gateway: Knows the limits, and fetches photos that come by address.
        request: The message.
        deadline: Until when a photo may be fetched.

    Raises:
        FieldError: If a field is wrong, or there is no photo.
        InputDisabledError: If there is an address, and photos are not fetched here.
        FetchError: If the photo can't be fetched.
        DeadlineError: If that takes too long.
    """
    # Read before the photo is fetched, so that a wrong field costs nothing.
    job = photo_job(request, request.content, gateway.settings, current_request_id() or "")
    source = request.WhichOneof("photo")
    if source is None:
        raise FieldError("photo", "send the photo as `content` or its address as `url`")
    if source == "content":
        return job
    if gateway.fetcher is None:
        raise InputDisabledError("Photos are not fetched from addresses here: send the photo as `content`.")
    content = await gateway.fetcher.fetch(request.url, deadline.check())
    return dataclasses.replace(job, content=content)

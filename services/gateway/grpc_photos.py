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


def understood_photo(
    gateway: Gateway, request: reconstruction_pb2.ReconstructRequest
) -> tuple[PhotoJob, str | None]:
    """Return what a worker is to do, so that what is wrong with a message is told before it costs anything.

    Args:
        gateway: Knows the limits, and whether photos are fetched.
        request: The message; it isn't needed any more then.

    Returns:
        The job; and the address where its photo is still to be fetched, if it has one.

    Raises:
        FieldError: If a field is wrong, or there is no photo.
        InputDisabledError: If there is an address, and photos are not fetched here.
    """
    job = photo_job(request, request.content, gateway.settings, current_request_id() or "")
    source = request.WhichOneof("photo")
    if source is None:
        raise FieldError("photo", "send the photo as `content` or its address as `url`")
    if source == "content":
        return job, None
    if gateway.fetcher is None:
        raise InputDisabledError("Photos are not fetched from addresses here: send the photo as `content`.")
    return job, request.url


async def with_photo(gateway: Gateway, job: PhotoJob, url: str | None, deadline: Deadline) -> PhotoJob:
    """Return a job with its photo, fetched if it has an address.

    Args:
        gateway: Fetches it.
        job: What is to be done.
        url: The address; None if the photo is there.
        deadline: Until when it may be fetched.

    Raises:
        TooManyUploadsError: If too many photos are on their way already.
        FetchError: If the photo can't be fetched.
        DeadlineError: If that takes too long.
    """
    if url is None or gateway.fetcher is None:
        return job
    with gateway.uploads.receiving():
        content = await gateway.fetcher.fetch(url, deadline.check())
    return dataclasses.replace(job, content=content)

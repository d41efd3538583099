"""Requests made from the OpenAPI document: every answer is one that the document promises, and no 5xx."""

import itertools
import json

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from benchmarks.load.faces import image_file, rendered_faces
from services.gateway.app import create_app
from services.gateway.settings import Settings

EXAMPLES = 60


def no_fault(ctx, response, case):
    """Allow no 5xx but the one that a caller asked for, who hardly left any time."""
    if response.status_code == 504 and "X-Request-Timeout" in (case.headers or {}):
        return
    assert response.status_code < 500, f"{response.status_code}: {response.text}"


CHECKS = [
    no_fault,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


document = create_app(Settings(_env_file=None)).openapi()
ACCEPT = itertools.cycle(
    (
        "application/json",
        "application/msgpack",
        "multipart/mixed",
        "model/gltf-binary",
        "application/zip",
        "application/ply",
        "image/png",
        "text/html, */*;q=0.1",
        "text/html",
    )
)
schema = schemathesis.openapi.from_dict(document)


@pytest.fixture(scope="session")
def photos(root):
    """A photo with a face, and a crop."""
    (face,) = rendered_faces(1, seed=3)
    photo = (root / "examples" / "astronaut.png").read_bytes()
    return {"photo": photo, "crop": image_file(face.crop)}


@pytest.fixture(scope="session")
def statuses():
    """How often each status was answered to a real photo."""
    return {}


@pytest.fixture(scope="session")
def connections():
    with requests.Session() as session:
        yield session


bounded = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@schema.parametrize()
@bounded
def test_answers_keep_what_the_document_promises(case, gateway, connections, tally):
    call(case, gateway, connections, tally)


def call(case, gateway, connections, tally):
    """Send a case and check its answer."""
    tally["cases"] += 1
    try:
        return case.call_and_validate(f"http://{gateway.rest}", session=connections, checks=CHECKS)
    except BaseException:
        tally["failures"] += 1
        raise


@schema.include(path="/v1/reconstructions", method="POST").parametrize()
@bounded
def test_so_do_answers_to_real_photos(case, gateway, connections, tally, photos, statuses):
    """Whatever else a request says, its photo can be answered."""
    as_crop = (case.query or {}).get("input") == "crop"
    case.media_type, case.body = "application/octet-stream", photos["crop" if as_crop else "photo"]
    case.headers["Accept"] = next(ACCEPT)
    response = call(case, gateway, connections, tally)
    statuses[response.status_code] = statuses.get(response.status_code, 0) + 1


def test_many_of_them_were_answered(statuses):
    assert statuses[200] > EXAMPLES / 10


def test_the_running_service_gives_out_this_document(gateway):
    assert json.loads(gateway.get("/openapi.json")) == json.loads(json.dumps(document))


def test_the_service_is_still_ready(fuzzer):
    fuzzer.check()

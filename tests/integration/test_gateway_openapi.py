"""The OpenAPI document is true: its examples and its curl lines run, and answers are what it says."""

import re
import shlex
from pathlib import Path

import jsonschema_rs
import pytest
from gateway_support import photo_bytes, serve

from services.gateway.app import create_app
from services.gateway.examples import PHOTO_EXAMPLES
from services.gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SERVER = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def document():
    return create_app(Settings(grpc_port=None, _env_file=None)).openapi()


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def validator(document, schema):
    return jsonschema_rs.validator_for({**schema, "components": document["components"]})


def check_answer(document, operation, response):
    """Check that the document allows an answer: its status, media type, headers and content."""
    described = operation["responses"].get(str(response.status_code))
    assert described, f"{response.status_code} is not in the document: {response.content[:300]}"
    media_type = response.headers["content-type"].partition(";")[0]
    assert media_type in described["content"]
    for name in described["headers"]:
        if not name.startswith("X-Quality-"):  # those of files alone
            assert name.lower() in response.headers, name
    if media_type.endswith("json"):
        validator(document, described["content"][media_type]["schema"]).validate(response.json())


def request_examples(document):
    for method, path, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        for media_type, media in content.items():
            for name, example in media.get("examples", {}).items():
                yield method, path, operation, media_type, media["schema"], name, example["value"]


def test_example_requests_are_valid_and_are_answered_as_described(document):
    async def check(client):
        statuses = {}
        for method, path, operation, media_type, schema, name, value in request_examples(document):
            assert media_type == "application/json"
            validator(document, schema).validate(value)
            response = await client.request(method, path, json=value)
            check_answer(document, operation, response)
            statuses[path, name] = response.status_code
        assert statuses == {
            ("/v1/reconstructions", "sent"): 200,
            ("/v1/reconstructions", "url"): 403,
            ("/v1/reconstructions/batch", "batch"): 200,
            ("/v1/renderings", "groups"): 200,
            ("/v1/renderings", "vector"): 200,
            ("/v1/edits", "relight"): 200,
            ("/v1/edits", "other"): 200,
            ("/v1/edits", "several"): 200,
        }

    serve(check)


def test_example_answers_are_valid(document):
    count = 0
    for _, _, operation in operations(document):
        for answer in operation["responses"].values():
            for media in answer.get("content", {}).values():
                if "example" in media:
                    validator(document, media["schema"]).validate(media["example"])
                    count += 1
    assert count == 13


def test_every_reference_leads_somewhere(document):
    def walk(tree):
        if isinstance(tree, dict):
            if "$ref" in tree:
                yield tree["$ref"]
            for value in tree.values():
                yield from walk(value)
        elif isinstance(tree, list):
            for value in tree:
                yield from walk(value)

    references = set(walk(document))
    assert len(references) > 20
    for reference in references:
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def curl_lines(document):
    return [
        (path, operation, line)
        for _, path, operation in operations(document)
        for line in re.findall(r"^curl .*$", operation.get("description", ""), flags=re.M)
    ]


def read_curl(line):
    """Return method, address and arguments for httpx, of the few options that the document uses."""
    words = iter(shlex.split(line)[1:])
    headers, files, data, content, url, output = {}, [], {}, None, None, None
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-F":
            name, _, value = next(words).partition("=")
            if value.startswith("@"):
                files.append((name, (Path(value).name, (ROOT / value[1:]).read_bytes())))
            else:
                data[name] = value
        elif word in ("-d", "--data-binary"):
            text = next(words)
            content = (ROOT / text[1:]).read_bytes() if text.startswith("@") else text.encode()
        elif word == "-o":
            output = next(words)
        else:
            assert word.startswith(SERVER), word
            url = word.removeprefix(SERVER)
    arguments = {"headers": headers, "content": content, "files": files or None, "data": data or None}
    return url, {name: value for name, value in arguments.items() if value is not None}, output


def test_curl_lines_are_answered_as_described(document):
    lines = curl_lines(document)
    assert {path for path, _, _ in lines} == {
        "/v1/reconstructions",
        "/v1/reconstructions/batch",
        "/v1/renderings",
        "/v1/edits",
    }
    assert len(lines) == 10

    async def check(client):
        for path, operation, line in lines:
            url, arguments, output = read_curl(line)
            assert url.partition("?")[0] == path
            response = await client.post(url, **arguments)
            assert response.status_code == 200, (line, response.content[:300])
            check_answer(document, operation, response)
            media_type = response.headers["content-type"]
            expected = {
                "png": "image/png",
                "jpg": "image/jpeg",
                "glb": "model/gltf-binary",
                None: "application/json",
            }
            assert media_type == expected[output and output.rpartition(".")[2]]

    serve(check)


def test_answers_of_every_address_are_as_described(document):
    async def check(client):
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                url = path.replace("{name}", "inversefacenet")
                check_answer(document, operation, await client.request(method, url))
                check_answer(document, operation, await client.request(method, url.replace("/inv", "/un")))

    serve(check)


def test_problems_are_as_described(document):
    operation = document["paths"]["/v1/reconstructions"]["post"]
    png = {"Content-Type": "image/png"}

    async def check(client):
        url = "/v1/reconstructions"
        answers = [
            await client.post(url, content=b"", headers=png),
            await client.post(url, json=PHOTO_EXAMPLES["url"]["value"]),
            await client.post(url, content=b"x", headers={**png, "Accept": "text/html"}),
            await client.post(url, content=bytes(3000), headers=png),
            await client.post(url, content=b"x", headers={"Content-Type": "text/plain"}),
            await client.post(f"{url}?faces=some", content=b"x", headers=png),
            await client.post(url, content=photo_bytes(colour=(0, 0, 0)), headers=png),
            await client.post(url, content=photo_bytes(), headers={**png, "X-Request-Timeout": "1e-9"}),
        ]
        expected = [400, 403, 406, 413, 415, 422, 422, 504]
        assert [response.status_code for response in answers] == expected
        for response in answers:
            check_answer(document, operation, response)
        client._transport.app.state.gateway.engine.draining = True
        check_answer(document, operation, await client.post(url, content=b"x", headers=png))

    serve(check, max_body_bytes=2500)


def test_every_address_of_work_tells_how_to_show_a_key():
    entry = {"a": {"sha256": "0" * 64}}
    for settings, required in (
        (Settings(_env_file=None), False),
        (Settings(api_keys=entry, _env_file=None), True),
    ):
        document = create_app(settings).openapi()
        schemes = document["components"]["securitySchemes"]
        assert schemes["bearer"]["scheme"] == "bearer"
        assert schemes["key"]["name"] == "X-API-Key"
        for _, path, operation in operations(document):
            if path.startswith("/v1/"):
                assert ({} in operation["security"]) is not required
                assert {"bearer": []} in operation["security"]
                assert "401" in operation["responses"]
            else:
                assert "security" not in operation


def test_the_document_has_what_callers_need(document):
    assert set(document["paths"]) >= {
        "/v1/reconstructions",
        "/v1/reconstructions/batch",
        "/v1/renderings",
        "/v1/edits",
        "/v1/edits/options",
        "/v1/models",
        "/v1/models/{name}",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2",
        "/metrics",
    }
    post = document["paths"]["/v1/reconstructions"]["post"]
    assert set(post["requestBody"]["content"]) == {
        "multipart/form-data",
        "application/json",
        "image/*",
        "application/octet-stream",
    }
    assert set(post["responses"]["200"]["content"]) == {
        "application/json",
        "application/msgpack",
        "multipart/mixed",
        "model/gltf-binary",
        "application/zip",
        "application/ply",
        "image/png",
    }
    names = {parameter["name"] for parameter in post["parameters"]}
    assert names >= {"faces", "minimum_size", "return", "size", "input", "landmarks", "X-Request-Timeout"}
    assert "refine" in names
    edit = document["paths"]["/v1/edits"]["post"]
    asked = {parameter["name"] for parameter in edit["parameters"]}
    assert asked == {
        "edits",
        "others",
        "faces",
        "minimum_size",
        "landmarks",
        "refine",
        "picture_format",
        "X-Request-Timeout",
    }
    assert set(edit["responses"]["200"]["content"]) == {
        "image/png",
        "image/jpeg",
        "application/json",
        "application/msgpack",
    }
    batch = document["paths"]["/v1/reconstructions/batch"]["post"]
    assert names - {parameter["name"] for parameter in batch["parameters"]} == {"landmarks"}
    form = batch["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert "landmarks" not in form["properties"]
    for _, path, operation in operations(document):
        assert operation["summary"], path
        for answer in operation["responses"].values():
            assert "X-Request-ID" in answer["headers"]
    assert "HTTPValidationError" not in str(document)
    assert "{'" not in str(post["description"])


def test_the_document_is_made_once():
    async def check(client):
        first = (await client.get("/openapi.json")).json()
        assert (await client.get("/openapi.json")).json() == first

    serve(check)

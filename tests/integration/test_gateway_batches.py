"""Several photos in one request: each has its own outcome, whatever becomes of the others."""

import asyncio
import base64
import email.parser
import email.policy
import json
import threading

import msgpack
import pytest
from gateway_support import (
    FakeReconstructor,
    assert_problem,
    broken_backend_error,
    gateway_of,
    mean_landmarks,
    metric,
    photo_bytes,
    serve,
    wait_started,
)

from services.gateway.errors import FetchError
from services.gateway.schemas import BatchAnswer, Problem, ReconstructionAnswer

URL = "/v1/reconstructions/batch"
BLACK = photo_bytes(colour=(0, 0, 0))


def photo(red):
    return photo_bytes(colour=(red, 10, 10))


def form(*contents):
    return [("photo", (f"{number}.png", content)) for number, content in enumerate(contents)]


def sent(content, **values):
    return {"photo": {"base64": base64.b64encode(content).decode()}, **values}


def yaws(results):
    return [round(255 * one["reconstruction"]["faces"][0]["parameters"]["rotation"][0]) for one in results]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_form_of_photos_is_answered_in_its_order(workers):
    async def check(client):
        response = await client.post(URL, files=form(*[photo(red) for red in range(20, 140, 20)]))
        results = response.json()["results"]
        BatchAnswer.model_validate(response.json())
        assert [one["index"] for one in results] == list(range(6))
        assert [one["name"] for one in results] == [f"{number}.png" for number in range(6)]
        assert {one["status"] for one in results} == {200}
        assert yaws(results) == list(range(20, 140, 20))

    serve(check, workers=workers, queue=0)


def test_each_photo_has_its_own_status():
    async def check(client):
        photos = [
            sent(photo(40), name="fine"),
            sent(BLACK),
            sent(b"no picture" * 9),
            {"photo": {"base64": "&"}},
            {"photo": {"base64": "AAAA"}, "unknown": 1},
            {"photo": {"url": "https://example.org/a.png"}, "name": "far"},
            7,
            sent(photo(80), landmarks=mean_landmarks().tolist()),
            sent(photo(80), landmarks=[[1, 2]]),
            sent(photo(80), crop=True),
            sent(photo(120)),
        ]
        response = await client.post(URL, json={"photos": photos, "size": 32, "return": ["rendering"]})
        assert response.status_code == 200
        answer = BatchAnswer.model_validate_json(response.content)
        statuses = [one.status for one in answer.results]
        assert statuses == [200, 422, 415, 400, 422, 403, 422, 200, 422, 400, 200]
        codes = [one.problem.code for one in answer.results if one.problem]
        assert codes == [
            "no-face",
            "unsupported-image",
            "invalid-image",
            "invalid-request",
            "url-input-disabled",
            "invalid-request",
            "invalid-request",
            "invalid-image",
        ]
        assert answer.results[4].problem.errors[0].field == "body.photos.4.unknown"
        assert (answer.results[0].name, answer.results[1].name) == ("fine", None)
        assert answer.results[5].name == "far"
        for one in answer.results:
            assert (one.reconstruction is None) == (one.problem is not None)
            if one.problem:
                assert one.problem.request_id == response.headers["x-request-id"]
                assert one.problem.status == one.status
        assert answer.results[10].reconstruction.faces[0].pictures.rendering.width == 32
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_requests_total", route=URL, outcome="ok") == 1
        assert metric(text, "inversefacenet_photos_total", outcome="ok") == 3
        assert metric(text, "inversefacenet_photos_total", outcome="no-face") == 1

    serve(check, max_photos=20)


def test_a_fault_of_the_service_is_the_photos_own_and_tells_nothing():
    reconstructor = FakeReconstructor()

    async def check(client):
        reconstructor.detector.error = broken_backend_error()
        response = await client.post(URL, files=form(photo(1)))
        (one,) = response.json()["results"]
        assert (one["status"], one["problem"]["code"]) == (503, "backend-unavailable")
        reconstructor.detector.error = RuntimeError("a secret of the inside")
        response = await client.post(URL, files=form(photo(1)))
        (one,) = response.json()["results"]
        assert (one["status"], one["problem"]["code"]) == (500, "internal")
        assert "secret" not in response.text

    serve(check, reconstructor)


@pytest.mark.parametrize("count", [4, 40])
def test_too_many_photos_are_refused_whole(count):
    reconstructor = FakeReconstructor()
    reconstructor.detector.error = AssertionError("a photo was looked at")

    async def check(client):
        response = await client.post(URL, files=form(*[photo(1)] * count))
        assert "3" in assert_problem(response, 413, "too-many-photos").detail
        response = await client.post(URL, json={"photos": [sent(photo(1))] * count})
        assert_problem(response, 413, "too-many-photos")

    serve(check, reconstructor, max_photos=3)


def test_a_list_without_end_is_not_read_on():
    async def check(client):
        content = b'{"photos": [' + b"{}," * 1001 + b"{}]}"
        response = await client.post(URL, content=content, headers={"Content-Type": "application/json"})
        assert "16" in assert_problem(response, 413, "too-many-photos").detail

    serve(check)


def test_crops_by_the_query():
    crop = photo_bytes(240, 240, (90, 60, 50))

    async def check(client):
        photos = [sent(crop), sent(crop, crop=True), sent(BLACK, crop=False)]
        results = (await client.post(f"{URL}?input=crop", json={"photos": photos})).json()["results"]
        assert [one["status"] for one in results] == [200, 200, 422]
        for one in results[:2]:
            assert one["reconstruction"]["faces"][0]["box"]["right"] == 240
        assert results[2]["problem"]["code"] == "no-face"

    serve(check)


def test_a_photo_that_may_be_sent_again_says_when():
    reconstructor = FakeReconstructor()
    reconstructor.detector.error = broken_backend_error()

    async def check(client):
        results = (await client.post(URL, files=form(photo(1)))).json()["results"]
        assert (results[0]["status"], results[0]["problem"]["retry_after"]) == (503, 1)
        alone = await client.post("/v1/reconstructions", files=form(photo(1)))
        assert assert_problem(alone, 503, "backend-unavailable").retry_after == 1
        assert alone.headers["retry-after"] == "1"
        reconstructor.detector.error = None
        results = (await client.post(URL, files=form(BLACK))).json()["results"]
        assert "retry_after" not in results[0]["problem"]

    serve(check, reconstructor)


def test_no_photos_are_refused():
    async def check(client):
        assert_problem(await client.post(URL, json={"photos": []}), 422, "invalid-request")
        assert_problem(await client.post(URL, json={}), 422, "invalid-request")
        response = await client.post(URL, data={"faces": "all"}, files={"x": ("", b"")})
        assert_problem(response, 400, "invalid-input")
        raw = await client.post(URL, content=photo(1), headers={"Content-Type": "image/png"})
        assert_problem(raw, 415, "unsupported-media-type")

    serve(check)


def test_landmarks_of_a_form_of_several_photos_are_refused():
    async def check(client):
        data = {"landmarks": json.dumps(mean_landmarks().tolist())}
        problem = assert_problem(
            await client.post(URL, data=data, files=form(photo(1))), 422, "invalid-request"
        )
        assert problem.errors[0].field == "body.landmarks"

    serve(check)


@pytest.mark.parametrize("way", ["form", "json"])
def test_landmarks_in_the_query_of_several_photos_are_refused(way):
    async def check(client):
        values = {"files": form(photo(1))} if way == "form" else {"json": {"photos": [sent(photo(1))]}}
        query = {"landmarks": json.dumps(mean_landmarks().tolist())}
        response = await client.post(URL, params=query, **values)
        assert assert_problem(response, 422, "invalid-request").errors[0].field == "query.landmarks"

    serve(check)


def test_msgpack():
    async def check(client):
        headers = {"Accept": "application/x-msgpack"}
        response = await client.post(f"{URL}?return=mesh", files=form(photo(9), BLACK), headers=headers)
        assert response.headers["content-type"] == "application/x-msgpack"
        fine, wrong = msgpack.unpackb(response.content)["results"]
        assert (fine["index"], fine["name"], fine["status"]) == (0, "0.png", 200)
        assert fine["reconstruction"]["faces"][0]["mesh"]["content"][:4] == b"glTF"
        assert (wrong["index"], wrong["status"]) == (1, 422)
        assert Problem.model_validate(wrong["problem"]).code == "no-face"

    serve(check)


def test_multipart():
    async def check(client):
        headers = {"Accept": "multipart/mixed"}
        response = await client.post(f"{URL}?return=mesh", files=form(photo(9), BLACK), headers=headers)
        assert response.headers["vary"] == "Accept"
        head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + response.content)
        summary, fine, wrong = message.iter_parts()
        listed = json.loads(summary.get_payload(decode=True))["results"]
        assert [one["status"] for one in listed] == [200, 422]
        assert [f"<{one['part']}>" for one in listed] == [fine["Content-ID"], wrong["Content-ID"]]
        answer, mesh = fine.iter_parts()
        tree = json.loads(answer.get_payload(decode=True))
        assert tree["faces"][0]["mesh"]["part"] == mesh["Content-ID"].strip("<>")
        assert mesh.get_payload(decode=True)[:4] == b"glTF"
        assert wrong.get_content_type() == "application/problem+json"
        assert json.loads(wrong.get_payload(decode=True))["code"] == "no-face"

    serve(check)


def test_forms_of_one_file_are_not_acceptable():
    async def check(client):
        response = await client.post(URL, files=form(photo(1)), headers={"Accept": "image/png"})
        assert_problem(response, 406, "not-acceptable")

    serve(check)


def test_a_batch_leaves_room_for_others():
    reconstructor = FakeReconstructor()
    hold = reconstructor.detector.hold = threading.Event()

    async def check(client):
        batch = asyncio.create_task(client.post(URL, files=form(*[photo(red) for red in range(10, 90, 10)])))
        await wait_started(reconstructor)
        while gateway_of(client).engine._pool._occupied < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        # Two workers, so two of its photos are in; the queue stays free for others.
        assert gateway_of(client).engine._pool._occupied == 2
        other = asyncio.create_task(
            client.post("/v1/reconstructions", content=photo(200), headers={"Content-Type": "image/png"})
        )
        while gateway_of(client).engine._pool._occupied < 3:
            await asyncio.sleep(0)
        hold.set()
        assert (await other).status_code == 200
        assert yaws((await batch).json()["results"]) == list(range(10, 90, 10))

    serve(check, reconstructor, workers=2, queue=1)


def test_a_batch_that_runs_out_of_time_answers_what_it_has():
    reconstructor = FakeReconstructor()
    hold = threading.Event()

    async def check(client):
        reconstructor.detector.hold = hold
        headers = {"X-Request-Timeout": "0.2"}
        response = await client.post(URL, files=form(photo(1), photo(2)), headers=headers)
        results = response.json()["results"]
        assert [one["status"] for one in results] == [504, 504]
        assert {one["problem"]["code"] for one in results} == {"deadline-exceeded"}
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_refusals_total", cause="deadline") == 2
        hold.set()

    serve(check, reconstructor)


def test_the_answer_holds_what_a_single_photo_gets():
    async def check(client):
        single = await client.post("/v1/reconstructions?faces=all", files=form(photo(55)))
        batch = await client.post(f"{URL}?faces=all", files=form(photo(55)))
        (one,) = batch.json()["results"]
        answers = [ReconstructionAnswer(**tree) for tree in (single.json(), one["reconstruction"])]
        assert answers[0].faces == answers[1].faces

    serve(check)


class Fetcher:
    """Fetches a photo by its red, and one address at a time."""

    def __init__(self):
        self.at_once = self.most = 0

    async def fetch(self, url, deadline_seconds=None):
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        if url.endswith("gone"):
            raise FetchError("The photo's server did not send it.")
        return photo(int(url.rpartition("/")[2]))

    async def close(self):
        pass


def test_photos_by_their_addresses():
    fetcher = Fetcher()

    async def check(client):
        gateway_of(client).fetcher = fetcher
        names = ["20", "gone", "60", "80", "100"]
        photos = [{"photo": {"url": f"https://example.org/{name}"}} for name in names]
        results = (await client.post(URL, json={"photos": photos})).json()["results"]
        assert [one["status"] for one in results] == [200, 422, 200, 200, 200]
        assert results[1]["problem"]["code"] == "url-not-fetched"
        assert yaws([results[0], *results[2:]]) == [20, 60, 80, 100]

    serve(check, workers=2)
    assert fetcher.most == 2


def test_a_batch_whose_caller_left_is_dropped():
    reconstructor = FakeReconstructor()
    hold = reconstructor.detector.hold = threading.Event()

    async def check(client):
        batch = asyncio.create_task(client.post(URL, files=form(*[photo(red) for red in range(10, 90, 10)])))
        await wait_started(reconstructor)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        hold.set()
        await gateway_of(client).engine.idle()
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_photos_total", outcome="cancelled") == 1
        assert metric(text, "inversefacenet_photos_total", outcome="ok") is None

    serve(check, reconstructor)
    assert not reconstructor.detector.started.acquire(blocking=False)

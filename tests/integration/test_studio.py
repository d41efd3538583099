"""The studio's server, without a browser."""

import asyncio
import base64
import io
import json
import logging
import os
import re
import signal
import threading
from contextlib import asynccontextmanager
from importlib import resources

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from pydantic import ValidationError
from studio_support import (
    ORIGIN,
    black_photo,
    face_model,
    opened,
    photo_bytes,
    pixels,
    settings,
    with_studio,
)

from inversefacenet.editing import apply_edits, parse_edits
from inversefacenet.parameters import Parameters
from services.studio.__main__ import _listen, _serve
from services.studio.controls import expression_controls, unit_label
from services.studio.errors import SessionLostError, StudioBusyError
from services.studio.look import Look
from services.studio.sessions import SessionStore
from services.studio.settings import settings_table, unknown_variables
from services.studio.workers import Lane

LEFT = [{"edit": "relight", "light": "left"}]


def look(*edits, **values):
    return {"look": {"edits": list(edits), **values}}


def problem(answer, status, code):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["code"] == code
    assert found["status"] == status
    assert found["type"] == f"urn:inversefacenet:problem:{code}"
    return found["detail"]


# --- the page -------------------------------------------------------------------------------------------


def test_the_page_lets_nothing_in_or_out():
    async def work(client, studio):
        answer = await client.get("/")
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        # Inline scripts and styles would be refused by that policy.
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", answer.text)
        for address in re.findall(r'(?:src|href)="(/[^"]*)"', answer.text):
            assert (await client.get(address)).status_code == 200, address

    with_studio(work)


def test_no_file_of_the_page_names_an_outside_address():
    found = {}
    for entry in (resources.files("services.studio") / "static").iterdir():
        if entry.name.endswith((".html", ".css", ".js", ".svg")):
            text = entry.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            found[entry.name] = re.findall(r"(?:https?:)?//[\w.-]+\.\w{2,}[^\s]*", text)
    assert len(found) >= 12
    assert not {name: hits for name, hits in found.items() if hits}


def test_files_are_known_by_name_alone_and_not_sent_twice():
    async def work(client, studio):
        for path in ("../settings.py", "%2e%2e%2fsettings.py", "nothing.js"):
            problem(await client.get(f"/static/{path}"), 404, "not-found")
        first = await client.get("/static/main.js")
        assert first.headers["content-type"].startswith("text/javascript")
        again = await client.get("/static/main.js", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")

    with_studio(work)


def test_the_demo_photo_is_the_example(root):
    shipped = (resources.files("services.studio") / "static" / "demo.jpg").read_bytes()
    example = np.asarray(Image.open(root / "examples" / "astronaut.png").convert("RGB")).astype(np.int16)
    assert np.abs(pixels(shipped) - example).mean() < 2


def test_options_offer_every_light_and_unit():
    async def work(client, studio):
        return (await client.get("/api/options")).json()

    options = with_studio(work)
    assert {"left", "front", "soft"} <= {light["name"] for light in options["lights"]}
    assert all(np.shape(light["coefficients"]) == (9, 3) for light in options["lights"])
    useful, *others = options["expressions"]
    assert useful["useful"]
    assert [slider["label"] for slider in useful["sliders"]][:2] == ["Smile", "Open mouth"]
    units = [unit for group in others for slider in group["sliders"] for unit in slider["units"]]
    assert sorted(units) == sorted(face_model().unit_names)
    ids = [slider["id"] for group in options["expressions"] for slider in group["sliders"]]
    assert len(set(ids)) == len(ids)


def test_controls_suit_other_rigs():
    groups = expression_controls(["jawOpen", "wiggle"])
    assert [group["name"] for group in groups] == ["Most used", "Jaw", "Other"]
    assert unit_label("mouthSmileLeft") == "Mouth smile left"
    assert unit_label("mh:eye-left-slit") == "Eye left slit"


# --- a photo and its edits ------------------------------------------------------------------------------


def test_a_photo_is_opened_edited_and_forgotten():
    async def work(client, studio):
        address, found = await opened(client)
        assert (found["width"], found["height"], found["face"]) == (320, 300, 0)
        assert len(found["faces"]) == 2
        assert len(found["session"]) >= 43
        assert {"verdict", "confidence", "photometric"} <= set(found["quality"])
        assert Parameters.from_dict(found["parameters"]).vector().shape == (350,)

        before = await client.post(f"{address}/picture", json={"size": 256})
        assert before.headers["content-type"] == "image/jpeg"
        left, top, side = found["square"]
        photo = Image.open(io.BytesIO(photo_bytes())).crop((left, top, left + side, top + side))
        shown = pixels(before.content)
        assert shown.shape == (256, 256, 3)
        assert np.abs(shown - np.asarray(photo.resize((256, 256)))).mean() < 3

        after = await client.post(f"{address}/picture", json={"size": 256, "number": 1, **look(*LEFT)})
        changed = pixels(after.content) - shown
        middle = changed[100:180, 60:196].mean(axis=(0, 2))
        assert middle[:30].mean() > middle[-30:].mean() + 10  # brighter at the image's left
        assert np.abs(changed[:6, :6]).mean() < 3  # the corner of the photo stays
        assert len(json.loads(after.headers["studio-light"])) == 27
        assert json.loads(after.headers["studio-pose"]) == [0, 0, 0]

        assert (await client.delete(address)).status_code == 204
        problem(await client.post(f"{address}/picture", json={}), 404, "session-lost")
        assert (await client.delete(address)).status_code == 204
        assert len(studio.sessions) == 0

    with_studio(work)


def test_the_page_can_forget_while_it_closes():
    async def work(client, studio):
        address, _ = await opened(client)
        answer = await client.post(f"{address}/forget", headers={"Origin": ORIGIN})
        assert answer.status_code == 204
        assert len(studio.sessions) == 0

    with_studio(work)


def test_edits_reach_the_head_and_the_parts():
    async def work(client, studio):
        address, _ = await opened(client)
        count = face_model().vertex_count
        jaw = look({"edit": "expression", "units": {"jawOpen": 1}, "relative": True})
        plain = (await client.post(f"{address}/head", json={})).content
        opened_mouth = (await client.post(f"{address}/head", json={**jaw, "number": 1})).content
        assert len(plain) == len(opened_mouth) == 15 * count
        vertices = [np.frombuffer(one[: 12 * count], "<f4").reshape(-1, 3) for one in (plain, opened_mouth)]
        np.testing.assert_allclose(vertices[0], face_model().mean_geometry, atol=1e-3)
        assert np.abs(vertices[1] - vertices[0]).max() > 5

        parts = (await client.post(f"{address}/parts", json={**jaw, "number": 2})).json()
        pictures = {}
        for name, picture in parts.items():
            image = Image.open(io.BytesIO(base64.b64decode(picture["base64"])))
            assert image.mode == "RGBA"
            pictures[name] = np.asarray(image).astype(np.int16)
        assert list(pictures) == ["shape", "expression", "skin", "light"]
        assert np.abs(pictures["shape"] - pictures["expression"]).mean() > 1

        layout = (await client.get("/api/head")).content
        head = json.loads(layout[: layout.index(b"\n")])
        assert head["model_vertices"] == count
        start = layout.index(b"\n") + 1
        assert start % 4 == 0
        assert len(layout) == start + 12 * head["triangles"] + 12 * head["vertices"]
        vertex = np.frombuffer(layout[-4 * head["vertices"] :], "<u4")
        triangles = np.frombuffer(layout[start : start + 12 * head["triangles"]], "<u4").reshape(-1, 3)
        np.testing.assert_array_equal(vertex[triangles], face_model().triangles)
        texture = await client.get(f"{address}/texture")
        assert pixels(texture.content).shape == (1024, 1024, 3)

    with_studio(work)


def test_the_model_is_laid_over_the_photo():
    async def work(client, studio):
        address, _ = await opened(client)
        pictures = []
        for number, edits in enumerate(([], [{"edit": "skin", "tone": -3}])):
            wanted = {"view": "model", "size": 256, "number": number, **look(*edits)}
            pictures.append(pixels((await client.post(f"{address}/picture", json=wanted)).content))
        plain = pixels((await client.post(f"{address}/picture", json={"size": 256})).content)
        # The photo shows the model itself: laid over it, it changes little.
        assert np.abs(pictures[0] - plain).mean() < 4
        assert pictures[1][120:140, 120:140].mean() < pictures[0][120:140, 120:140].mean() - 5

    with_studio(work)


def test_another_face_and_a_closer_fit_can_be_chosen():
    async def work(client, studio):
        address, first = await opened(client)
        other = (await client.post(f"{address}/face", json={"face": 1})).json()
        assert (other["face"], other["session"]) == (1, first["session"])
        assert other["square"][2] < first["square"][2]
        fitted = (await client.post(f"{address}/face", json={"face": 0, "refine": 1})).json()
        assert fitted["quality_before"]["photometric"] >= 0
        detail = problem(await client.post(f"{address}/face", json={"face": 2}), 400, "invalid-input")
        assert "2 faces" in detail
        for wrong in ({"refine": True}, {"refine": "3"}, {"refine": 2.5}, {"refine": 31}, {"face": True}):
            answer = await client.post(f"{address}/face", json=wrong)
            assert next(iter(wrong)) in problem(answer, 422, "invalid-request")

    with_studio(work)


def test_faces_are_fitted_as_they_come_unless_that_is_turned_off():
    async def work(client, studio):
        address, first = await opened(client)
        assert first["quality_before"]["photometric"] >= 0
        other = (await client.post(f"{address}/face", json={"face": 1})).json()
        assert other["quality_before"] is not None
        plain = (await client.post(f"{address}/face", json={"face": 1, "refine": 0})).json()
        assert plain["quality_before"] is None
        assert plain["parameters"] != other["parameters"]

    with_studio(work, refine=1)


def test_a_photo_in_a_form_is_told_how_to_come():
    async def work(client, studio):
        sent = {"photo": ("me.png", photo_bytes(), "image/png")}
        detail = problem(await client.post("/api/sessions", files=sent), 415, "unsupported-form")
        assert "--data-binary" in detail
        # What curl calls a body that it was told nothing of.
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await client.post("/api/sessions", content=photo_bytes(), headers=kind)
        assert answer.status_code == 201

    with_studio(work)


def test_a_second_photo_lends_its_light():
    async def work(client, studio):
        address, _ = await opened(client)
        mix = {"edit": "mix", "from": "second", "light": 1}
        detail = problem(await client.post(f"{address}/picture", json=look(mix)), 422, "invalid-edit")
        assert "edits[0]" in detail
        answer = (await client.post(f"{address}/second", content=photo_bytes("JPEG"))).json()
        assert pixels(base64.b64decode(answer["thumbnail"]["base64"])).shape == (128, 128, 3)
        assert (await client.post(f"{address}/picture", json={"number": 2, **look(mix)})).status_code == 200
        # Of the second photo the parameters alone are kept.
        (kept,) = studio.sessions.get(address.rpartition("/")[2]).portrait.others.values()
        assert isinstance(kept, Parameters)

    with_studio(work)


def test_downloads_open():
    trimesh = pytest.importorskip("trimesh")
    edits = [*LEFT, {"edit": "expression", "units": {"jawOpen": 0.5}, "relative": True}]

    async def work(client, studio):
        address, found = await opened(client)
        wanted = look(*edits, brightness=1.2, character=1.5)
        files = {}
        for name in ("photo.png", "face.glb", "face.json"):
            answer = await client.post(f"{address}/download/{name}", json=wanted)
            assert answer.status_code == 200, answer.text
            assert name in answer.headers["content-disposition"]
            files[name] = answer.content
        problem(await client.post(f"{address}/download/secrets.txt", json=wanted), 404, "not-found")
        return files, found

    files, found = with_studio(work)
    assert Image.open(io.BytesIO(files["photo.png"])).size == (320, 300)
    mesh = trimesh.load(io.BytesIO(files["face.glb"]), file_type="glb", force="mesh", process=False)
    assert len(mesh.faces) == len(face_model().triangles)
    assert mesh.visual.uv is not None
    tree = json.loads(files["face.json"])
    assert len(tree["vector"]) == 350
    start = Parameters.from_dict(tree["photo_parameters"])
    assert tree["photo_parameters"] == found["parameters"]
    again = apply_edits(face_model(), start, parse_edits(tree["edits"], face_model()))
    np.testing.assert_allclose(again.vector(), tree["vector"], atol=1e-4)


def test_brightness_and_character_are_edits():
    start = Parameters.from_vector(np.linspace(-1, 1, 350).astype(np.float32))
    edits, edited = Look(brightness=2, character=0).resolve(face_model(), start, {})
    assert len(edits) == 2
    np.testing.assert_allclose(edited.illumination, 2 * start.illumination, rtol=1e-5)
    assert np.abs(edited.shape).max() < 1e-3
    assert Look().resolve(face_model(), start, {}) == ((), start)


# --- what goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("photo", "status", "code"),
    [
        (b"not a photo", 415, "unsupported-image"),
        (b"", 400, "empty-image"),
        (photo_bytes()[:3000], 400, "truncated-image"),
        (black_photo(), 422, "no-face"),
    ],
)
def test_photos_that_are_none_are_refused(photo, status, code):
    async def work(client, studio):
        assert problem(await client.post("/api/sessions", content=photo), status, code)
        assert len(studio.sessions) == 0

    with_studio(work)


def test_large_photos_are_refused_before_they_are_read():
    async def work(client, studio):
        detail = problem(await client.post("/api/sessions", content=bytes(5000)), 413, "body-too-large")
        assert "MiB" in detail

        async def chunks():
            for _ in range(6):
                yield bytes(1000)

        problem(await client.post("/api/sessions", content=chunks()), 413, "body-too-large")

    with_studio(work, max_body_bytes=4096)

    async def small(client, studio):
        problem(await client.post("/api/sessions", content=photo_bytes()), 413, "image-too-large")

    with_studio(small, max_pixels=1000)


@pytest.mark.parametrize(
    ("body", "code", "named"),
    [
        (b"{", "invalid-request", "body"),
        (b'{"size": 1000000}', "invalid-request", "size"),
        (b'{"look": {"brightness": "NaN"}}', "invalid-request", "brightness"),
        (b'{"look": {"edits": [{"edit": "frobnicate"}]}}', "invalid-edit", "edits[0]"),
        (
            b'{"look": {"edits": [{"edit": "expression", "units": {"jawOpn": 1}}]}}',
            "invalid-edit",
            "jawOpen",
        ),
    ],
)
def test_wrong_edits_are_told_by_name(body, code, named):
    async def work(client, studio):
        address, _ = await opened(client)
        assert named in problem(await client.post(f"{address}/picture", content=body), 422, code)

    with_studio(work)


def test_json_bodies_have_a_limit():
    async def work(client, studio):
        address, _ = await opened(client)
        body = b'{"look": {"edits": [' + b" " * 200_000 + b"]}}"
        problem(await client.post(f"{address}/picture", content=body), 413, "body-too-large")

    with_studio(work)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_may_send_nothing(headers):
    async def work(client, studio):
        address, _ = await opened(client)
        problem(
            await client.post("/api/sessions", content=photo_bytes(), headers=headers), 403, "cross-origin"
        )
        problem(await client.request("DELETE", address, headers=headers), 403, "cross-origin")
        assert len(studio.sessions) == 1

    with_studio(work)


def test_the_studio_answers_to_its_own_names_alone():
    async def work(client, studio):
        problem(await client.get("/", headers={"Host": "rebound.example"}), 403, "cross-origin")
        for name in ("localhost:8080", "127.0.0.1", "[::1]:8080", "[::1]"):
            assert (await client.get("/", headers={"Host": name})).status_code == 200

    with_studio(work)

    async def named(client, studio):
        assert (await client.get("/", headers={"Host": "studio.example:443"})).status_code == 200
        problem(await client.get("/", headers={"Host": "localhost"}), 403, "cross-origin")

    with_studio(named, hosts="studio.example")


def test_what_nobody_foresaw_is_told_to_the_log_alone(monkeypatch, caplog):
    async def work(client, studio):
        address, _ = await opened(client)
        session = studio.sessions.get(address.rpartition("/")[2])
        monkeypatch.setattr(
            type(session.portrait), "picture", lambda *_: (_ for _ in ()).throw(OSError("/a/file"))
        )
        return await client.post(f"{address}/picture", json={})

    with caplog.at_level(logging.ERROR):
        detail = problem(with_studio(work), 500, "internal")
    assert "/a/file" not in detail
    assert "OSError" in caplog.text


# --- what is held ---------------------------------------------------------------------------------------


class Held:
    """As much of a portrait as the store looks at."""

    def __init__(self, memory):
        self.memory = memory


def test_photos_are_few_and_the_longest_unused_goes_first():
    seconds = [0.0]
    store = SessionStore(limit=2, memory=100, idle=900, clock=lambda: seconds[0])
    first = store.add(Held(10))
    seconds[0] = 30
    second = store.add(Held(10))
    with pytest.raises(StudioBusyError):
        store.add(Held(10))
    seconds[0] = 61
    third = store.add(Held(10))
    assert len({first.name, second.name, third.name}) == 3
    with pytest.raises(SessionLostError):
        store.get(first.name)
    assert store.get(second.name) is second
    assert (len(store), store.bytes) == (2, 20)


def test_photos_have_so_much_memory_and_no_more():
    seconds = [0.0]
    store = SessionStore(limit=10, memory=100, idle=900, clock=lambda: seconds[0])
    names = [store.add(Held(40)).name, store.add(Held(40)).name]
    seconds[0] = 100
    store.add(Held(90))
    assert (len(store), store.bytes) == (1, 90)
    for name in names:
        with pytest.raises(SessionLostError):
            store.get(name)


def test_unused_photos_are_forgotten():
    seconds = [0.0]
    store = SessionStore(limit=10, memory=100, idle=900, clock=lambda: seconds[0])
    used, unused = store.add(Held(1)), store.add(Held(1))
    seconds[0] = 800
    store.get(used.name)
    seconds[0] = 1000
    store.sweep()
    assert len(store) == 1
    assert store.get(used.name) is used
    with pytest.raises(SessionLostError, match="Send it again"):
        store.get(unused.name)


def test_logs_name_neither_photo_nor_session(caplog):
    async def work(client, studio):
        address, _ = await opened(client)
        await client.post(f"{address}/picture", json=look(*LEFT))
        await client.post("/api/sessions", content=b"a private word")
        return address.rpartition("/")[2]

    with caplog.at_level(logging.DEBUG):
        name = with_studio(work)
    # httpx, the test's own client, writes down what it asks.
    written = "\n".join(one.getMessage() for one in caplog.records if one.name != "httpx")
    assert "/api/sessions/{name}/picture 200" in written
    assert name not in written
    assert "private" not in written


def test_the_latest_edit_wins():
    hold = threading.Event()

    async def work(client, studio):
        address, _ = await opened(client)
        session = studio.sessions.get(address.rpartition("/")[2])
        blocker = asyncio.ensure_future(studio.edits.run(lambda: hold.wait(20)))
        await asyncio.sleep(0)
        asked = [
            asyncio.ensure_future(client.post(f"{address}/picture", json={"size": 128, "number": number}))
            for number in (1, 2, 3)
        ]
        while session.latest.get("picture-photo", 0) < 3:
            await asyncio.sleep(0.005)
        hold.set()
        await blocker
        return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert with_studio(work, edit_workers=1) == [409, 409, 200]


def test_too_much_work_is_refused():
    async def work():
        hold = threading.Event()
        lane = Lane("test", threads=1, queue=1)
        running = [asyncio.ensure_future(lane.run(lambda: hold.wait(20))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(StudioBusyError):
            await lane.run(lambda: None)
        hold.set()
        await asyncio.gather(*running)
        await asyncio.sleep(0)
        assert await lane.run(lambda: 7) == 7
        lane.close()

    asyncio.run(work())


# --- settings -------------------------------------------------------------------------------------------


def test_beyond_this_machine_must_be_meant():
    for values in ({}, {"anonymous": True}, {"plaintext": True}):
        with pytest.raises(ValidationError, match="IFN_STUDIO_HOST"):
            settings(host="0.0.0.0", **values)
    assert settings(host="0.0.0.0", anonymous=True, plaintext=True).host_names is None
    assert "localhost" in settings().host_names


def test_misspelt_settings_are_found(monkeypatch):
    monkeypatch.setenv("IFN_STUDIO_PROT", "1")
    monkeypatch.setenv("IFN_STUDIO_PORT", "1234")
    assert unknown_variables() == ["IFN_STUDIO_PROT"]
    assert settings().port == 1234
    assert "| `IFN_STUDIO_SESSION_IDLE` | `900.0` |" in settings_table()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_being_told_to_stop_is_an_orderly_end(number):
    told = []

    @asynccontextmanager
    async def lifespan(app):
        asyncio.get_running_loop().call_later(0.3, os.kill, os.getpid(), number)
        yield
        told.append("closed")

    before = signal.getsignal(number)
    listener = _listen("127.0.0.1", 0)
    assert _serve(FastAPI(lifespan=lifespan), listener, settings()) == 0
    assert told == ["closed"]
    assert signal.getsignal(number) is before

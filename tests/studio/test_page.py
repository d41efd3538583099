"""The studio in a real browser, as a visitor uses it."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from inversefacenet.parameters import Parameters

PHONE = {
    "viewport": {"width": 375, "height": 667},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}


def difference(one, other):
    return float(np.abs(one - other).mean())


def test_the_demo_photo_opens(visit):
    here = visit()
    here.shot("welcome")
    here.demo()
    photo, before = here.picture("after"), here.picture("before")
    assert photo.shape == (768, 768, 3)
    assert difference(photo, before) < 1
    assert photo.std() > 20
    assert here.page.inner_text("#quality-title") == "Looks good."
    for part in ("shape", "expression", "skin", "light"):
        size = here.page.evaluate(f"document.getElementById('part-{part}').naturalWidth")
        assert size == 240
    here.shot("opened", full_page=True)


def test_a_photo_is_uploaded_and_relit(visit, astronaut):
    here = visit()
    here.choose(astronaut)
    here.opened()
    plain = here.picture()
    pictures = {}
    for side in ("left", "right"):
        here.page.click(f'[data-light="{side}"]')
        here.settle()
        assert here.page.get_attribute(f'[data-light="{side}"]', "aria-pressed") == "true"
        pictures[side] = here.picture()
    rows, half = slice(250, 500), 384
    brighter = pictures["left"] - pictures["right"]
    assert brighter[rows, 270:half].mean() > brighter[rows, half:500].mean() + 15
    assert difference(plain, pictures["left"]) > 1
    here.shot("relit")
    here.page.click("#reset")
    here.settle()
    assert difference(plain, here.picture()) < 0.5


def test_the_light_is_dragged_on_the_ball(visit):
    here = visit()
    here.demo()
    plain = here.picture()
    box = here.page.locator("#ball").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    here.page.mouse.move(x, y)
    here.page.mouse.down()
    here.page.mouse.move(x + 0.4 * box["width"], y - 0.1 * box["height"], steps=6)
    here.page.mouse.up()
    here.settle()
    assert int(here.page.input_value("#s-azimuth")) > 40
    assert int(here.page.input_value("#s-height")) > 5
    assert difference(plain, here.picture()) > 1
    here.page.focus("#ball")
    before = int(here.page.input_value("#s-azimuth"))
    here.page.keyboard.press("ArrowLeft")
    assert int(here.page.input_value("#s-azimuth")) == before - 10
    here.page.fill("#lamp-colour", "#ff8040")
    here.settle()
    lit = here.picture()
    assert lit[300:450, 300:460, 0].mean() > lit[300:450, 300:460, 2].mean() + 20
    here.shot("lamp")


def test_expression_pose_and_face_change_the_picture(visit):
    here = visit()
    here.demo()
    plain = here.picture()
    for tab, slider, value in (
        ("expression", "open-mouth", 0.5),
        ("pose", "yaw", 12),
        ("face", "tone", -2),
        ("face", "character", 1.8),
    ):
        here.tab(tab)
        here.move(slider, value)
        here.settle()
        assert difference(plain, here.picture()) > 0.5, slider
        here.shot(f"edit-{slider}")
        here.page.click("#reset")
        here.settle()
    here.tab("expression")
    here.page.click("#neutral")
    here.settle()
    assert difference(plain, here.picture()) > 0.3
    here.shot("edit-neutral")
    here.page.click("#panel-expression > details > summary")
    here.page.click("#all-units summary >> nth=0")
    here.move("jawForward", 0.8)
    here.settle()


def test_before_and_after(visit):
    here = visit()
    here.demo()
    here.page.click('[data-light="neon"]')
    here.settle()
    assert here.page.is_hidden("#before")
    here.page.click("#compare")
    divider = here.page.locator("#divider")
    box = here.page.locator("#stage").bounding_box()
    middle = box["x"] + box["width"] / 2
    assert abs(divider.bounding_box()["x"] + 22 - middle) < 2
    here.page.mouse.move(middle, box["y"] + 100)
    here.page.mouse.down()
    here.page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 120, steps=4)
    here.page.mouse.up()
    assert divider.get_attribute("aria-valuenow") == "75"
    divider.focus()
    here.page.keyboard.press("ArrowLeft")
    assert divider.get_attribute("aria-valuenow") == "70"
    here.shot("compare")
    here.page.click("#compare")
    hold = here.page.locator("#hold")
    hold.dispatch_event("pointerdown")
    assert here.page.is_visible("#before")
    hold.dispatch_event("pointerup")
    assert here.page.is_hidden("#before")


def test_the_reconstruction_is_shown(visit):
    here = visit()
    here.demo()
    plain = here.picture()
    here.page.click("#view-model")
    here.settle()
    shown = here.picture()
    assert difference(plain, shown) > 0.5
    assert difference(plain[:40, :40], shown[:40, :40]) < 3
    here.shot("reconstruction")


def test_the_head_turns(visit):
    here = visit()
    here.demo()

    def head():
        return np.asarray(Image.open(io.BytesIO(here.page.locator("#head").screenshot()))).astype(np.int16)

    here.page.locator("#head").scroll_into_view_if_needed()
    straight = head()
    assert straight[..., :3].std() > 25
    here.page.focus("#head")
    for _ in range(5):
        here.page.keyboard.press("ArrowRight")
    here.page.wait_for_timeout(300)
    turned = head()
    assert difference(straight, turned) > 4
    here.page.click('[data-paint="clay"]')
    here.page.wait_for_timeout(300)
    assert difference(turned, head()) > 4
    here.shot("head")


def test_light_and_expression_of_a_second_photo(visit, astronaut, tmp_path):
    here = visit()
    here.demo()
    here.tab("transfer")
    assert here.page.is_disabled("#s-transfer-light")
    mirrored = tmp_path / "second.png"
    Image.open(astronaut).convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)
    here.page.set_input_files("#second-file", mirrored)
    here.page.wait_for_selector("#second-picture", state="visible")
    here.settle()
    assert here.page.input_value("#s-transfer-expression") == "1"
    plain = here.picture()
    here.move("transfer-light", 1)
    here.settle()
    assert difference(plain, here.picture()) > 0.2
    here.shot("transfer")


def test_a_closer_fit_says_what_it_gained(visit):
    here = visit()
    here.demo()
    here.page.locator("#refine", has_text="Undo the closer fit").wait_for()
    assert "before" in here.page.inner_text("#quality-text")
    here.shot("fitted", full_page=True)
    here.page.click("#refine")
    here.page.locator("#refine", has_text="Fit more closely").wait_for()
    here.settle()
    assert "before" not in here.page.inner_text("#quality-text")


def test_downloads_open(visit, astronaut):
    trimesh = pytest.importorskip("trimesh")
    here = visit()
    here.choose(astronaut)
    here.opened()
    here.page.click('[data-light="sunset"]')
    here.settle()

    photo = here.download("photo.png")
    assert photo.suggested_filename == "astronaut-edited.png"
    edited = Image.open(photo.path())
    original = Image.open(astronaut).convert("RGB")
    assert (edited.format, edited.size) == ("PNG", original.size)
    assert difference(np.asarray(edited).astype(int), np.asarray(original).astype(int)) > 0.3

    head = here.download("face.glb")
    mesh = trimesh.load(head.path(), file_type="glb", force="mesh", process=False)
    assert len(mesh.faces) > 10_000
    assert mesh.visual.uv is not None

    answer = json.loads(here.download("face.json").path().read_text())
    assert len(answer["vector"]) == 350
    assert Parameters.from_dict(answer["parameters"]).vector().tolist() == pytest.approx(answer["vector"])
    assert answer["edits"] == [{"edit": "relight", "light": "sunset"}]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_photo_without_a_face_is_told_well(visit, no_face, scheme):
    here = visit(color_scheme=scheme)
    here.expected = ("422",)
    here.choose(no_face)
    box = here.problem()
    assert box.locator("strong").inner_text() == "No face found"
    assert box.locator("li").count() == 3
    assert box.get_attribute("role") == "alert"
    assert here.page.is_visible("#choose")
    assert here.page.is_hidden("#working")
    here.shot(f"error-{scheme}")
    here.page.click("#problem >> text=Dismiss")
    assert here.page.is_hidden("#problem")


def test_files_that_are_no_photos_are_told_well(visit, tmp_path):
    here = visit()
    here.expected = ("413", "415")
    text = tmp_path / "notes.jpg"
    text.write_text("these are notes")
    here.choose(text)
    assert "not a photo" in here.problem().inner_text()
    huge = tmp_path / "huge.png"
    Image.new("RGB", (2500, 2000)).save(huge)
    here.choose(huge)
    here.page.wait_for_selector('#problem[data-code="image-too-large"]')
    assert "4,000,000" in here.problem().inner_text()
    heavy = tmp_path / "heavy.jpg"
    heavy.write_bytes(bytes(9 * 1024 * 1024))
    here.choose(heavy)
    here.page.wait_for_selector('#problem[data-code="body-too-large"]')
    assert "9 MB" in here.problem().inner_text()


def test_a_lost_photo_is_sent_again_with_its_edits(visit):
    here = visit()
    here.expected = ("404",)
    with here.page.expect_response("**/api/sessions") as waiting:
        here.page.click("#demo")
    session = waiting.value.json()["session"]
    here.opened()
    here.page.click('[data-light="left"]')
    here.settle()
    lit = here.picture()
    assert here.context.request.delete(f"{here.address}/api/sessions/{session}").status == 204
    here.move("brightness", 1.01)
    here.page.wait_for_selector('#problem[data-code="session-lost"]')
    here.shot("lost")
    here.page.click("#problem >> text=Send it again")
    here.page.wait_for_selector("#problem", state="hidden")
    here.page.wait_for_selector("#stage-busy", state="hidden")
    here.settle()
    assert difference(lit, here.picture()) < 3


def test_a_photo_is_forgotten_on_request_and_on_leaving(visit):
    here = visit()
    with here.page.expect_response("**/api/sessions") as waiting:
        here.page.click("#demo")
    first = waiting.value.json()["session"]
    here.opened()
    here.page.click("#forget")
    here.page.wait_for_selector("#welcome", state="visible")
    here.page.wait_for_load_state("networkidle")
    with here.page.expect_response("**/api/sessions") as waiting:
        here.page.click("#demo")
    second = waiting.value.json()["session"]
    here.opened()
    here.page.goto("about:blank")
    here.page.wait_for_timeout(500)
    for name in (first, second):
        answer = here.context.request.post(f"{here.address}/api/sessions/{name}/picture", data={})
        assert answer.status == 404, name


def test_the_camera_takes_a_photo(visit):
    here = visit()
    here.expected = ("422",)
    here.context.grant_permissions(["camera"], origin=here.address)
    here.page.click("#open-camera")
    here.page.wait_for_selector("#shoot:enabled")
    assert here.page.evaluate("document.getElementById('video').videoWidth") > 0
    here.shot("camera")
    here.page.click("#shoot")
    # Chromium's stand-in for a camera shows a green field with a disc, and no face.
    assert here.problem().locator("strong").inner_text() == "No face found"
    assert here.page.evaluate("document.getElementById('video').srcObject") is None


def test_without_a_camera_the_phone_s_own_app_is_offered(visit):
    here = visit()
    here.page.evaluate(
        """() => {
            const refuse = () => Promise.reject(new DOMException("", "NotFoundError"));
            navigator.mediaDevices.getUserMedia = refuse;
        }"""
    )
    here.page.click("#open-camera")
    here.page.wait_for_selector("#camera-file-button", state="visible")
    assert here.page.get_attribute("#camera-file", "capture") == "user"
    here.page.keyboard.press("Escape")
    assert here.page.is_hidden("#camera")


def test_it_fits_a_phone(visit):
    here = visit(**PHONE)
    assert here.overflow() <= 0
    here.shot("phone-welcome")
    here.demo()
    for tab in ("light", "expression", "pose", "face", "transfer"):
        here.page.tap(f"#tab-{tab}")
        assert here.overflow() <= 0, tab
        assert here.page.is_visible(f"#panel-{tab}")
    here.page.tap("#tab-light")
    here.page.locator('[data-light="left"]').tap()
    here.settle()
    # The picture stays in sight while its sliders are moved.
    assert here.page.locator("#stage").bounding_box()["y"] >= -1
    here.shot("phone")
    here.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    here.page.wait_for_timeout(200)
    here.shot("phone-below")


def test_the_dark_scheme(visit):
    here = visit(color_scheme="dark")
    here.demo()
    here.page.click('[data-light="window"]')
    here.settle()
    here.shot("dark", full_page=True)


CONTRAST = """() => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const ground = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const style = getComputedStyle(one);
            if (style.backgroundImage !== "none") return null; // judged by eye
            const colour = parse(style.backgroundColor);
            if (colour.length < 4 || colour[3] === 1) return colour;
            if (colour[3] > 0) return null;
        }
        return null;
    };
    const poor = [];
    for (const element of document.querySelectorAll("h1, h2, p, b, strong, span, label, summary, button")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        const behind = own && element.checkVisibility() && !element.closest(":disabled") && ground(element);
        if (!behind) continue;
        const lights = [luminance(parse(getComputedStyle(element).color)), luminance(behind)].sort();
        const ratio = (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05);
        if (ratio < 4.5) poor.push([element.textContent.trim().slice(0, 30), ratio.toFixed(2)]);
    }
    return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_controls_have_names(visit, scheme):
    here = visit(color_scheme=scheme)
    assert here.page.evaluate(CONTRAST) == []
    here.demo()
    for tab in ("light", "expression", "pose", "face", "transfer"):
        here.tab(tab)
        assert here.page.evaluate(CONTRAST) == [], tab
    nameless = here.page.evaluate(
        """() => [...document.querySelectorAll("input, button, [role=slider], [role=img], img")]
            .filter((one) => !(one.labels?.length || one.ariaLabel || one.textContent.trim()
                || one.hasAttribute("alt")))
            .map((one) => one.outerHTML)"""
    )
    assert nameless == []


def test_the_keyboard_reaches_everything(visit):
    here = visit()
    here.page.keyboard.press("Tab")
    assert here.page.evaluate("document.activeElement.className") == "skip"
    for wanted in ("choose", "open-camera", "demo"):
        here.page.keyboard.press("Tab")
        assert here.page.evaluate("document.activeElement.id") == wanted
    here.page.keyboard.press("Enter")
    here.opened()
    here.page.focus("#tab-light")
    here.page.keyboard.press("ArrowRight")
    assert here.page.is_visible("#panel-expression")
    assert here.page.evaluate("document.activeElement.id") == "tab-expression"
    plain = here.picture()
    here.page.focus("#s-open-mouth")
    for _ in range(10):
        here.page.keyboard.press("ArrowRight")
    here.settle()
    assert difference(plain, here.picture()) > 0.3

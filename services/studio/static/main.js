// The page: what happens when.
import * as api from "./api.js";
import { cameraDialog } from "./camera.js";
import { Latest, settled } from "./latest.js";
import { changes, lookOf, unchanged } from "./look.js";
import { Panels } from "./panels.js";
import { Stage } from "./stage.js";
import { HeadViewer } from "./viewer.js";
import { explain, qualityWords } from "./words.js";

const FAST = [512, 448, 384, 320, 256]; // sides of the picture while a slider moves
const TARGET = 85; // milliseconds that a picture may take before the next one is made smaller
const FINE = 768;
const PLAIN = lookOf(unchanged(), [], false);

const element = (id) => document.getElementById(id);
const stage = new Stage({
  stage: element("stage"),
  after: element("after"),
  before: element("before"),
  divider: element("divider"),
  tagBefore: element("tag-before"),
  tagAfter: element("tag-after"),
});

const now = {
  session: null,
  photo: null, // kept here, so that a lost session can be opened again
  second: null,
  answer: null,
  view: "photo",
  step: 0, // into FAST
  calm: 0,
  recent: [], // milliseconds from slider to picture
  opening: 0,
};
let options = null;
let panels = null;
let viewer = null;

const look = () => lookOf(panels.state, panels.expressions, Boolean(now.second));
const announce = (text) => { element("announce").textContent = text; };

function fail(error) {
  if (!error.code) console.error(error);
  const { title, text, points, resend, again } = explain(error);
  const box = element("problem");
  box.replaceChildren();
  const body = document.createElement("div");
  body.append(Object.assign(document.createElement("strong"), { textContent: title }));
  body.append(Object.assign(document.createElement("p"), { textContent: text }));
  if (points) {
    const list = document.createElement("ul");
    list.append(...points.map((point) => Object.assign(document.createElement("li"), { textContent: point })));
    body.append(list);
  }
  const buttons = document.createElement("div");
  buttons.className = "problem-buttons";
  const button = (label, kind, work) => {
    const made = Object.assign(document.createElement("button"), { type: "button", textContent: label, className: kind });
    made.addEventListener("click", () => { calm(); work(); });
    buttons.append(made);
  };
  if (resend && now.photo) button("Send it again", "primary", () => open(now.photo, true));
  else if (again && now.session) button("Try again", "primary", () => refresh());
  button("Dismiss", "quiet", () => {});
  box.append(body, buttons);
  box.dataset.code = error.code ?? "unforeseen";
  box.hidden = false;
  box.scrollIntoView({ block: "nearest" });
}

function calm() {
  element("problem").hidden = true;
}

function working(text) {
  element("working").hidden = !text;
  element("stage-busy").hidden = !text;
  if (text) element("working-text").textContent = text;
}

// --- opening a photo --------------------------------------------------------------------------------------

async function open(photo, keep = false) {
  calm();
  if (options && photo.size > options.max_bytes) {
    const text = `It has ${(photo.size / 2 ** 20).toFixed(0)} MB; the studio takes ${(options.max_bytes / 2 ** 20).toFixed(0)} MB at most.`;
    fail(Object.assign(new Error(text), { code: "body-too-large" }));
    return;
  }
  now.opening += 1;
  const mine = now.opening;
  working("Finding the face\u2026");
  announce("Finding the face.");
  try {
    const answer = await api.openSession(photo);
    if (mine !== now.opening) {
      new api.Session(answer.session).leave();
      return;
    }
    if (now.session) now.session.leave();
    now.session = new api.Session(answer.session);
    now.photo = photo;
    const second = keep ? now.second : null;
    now.second = null;
    if (!keep) {
      panels.reset();
      forgetSecond();
    }
    element("welcome").hidden = true;
    element("studio").hidden = false;
    element("top-actions").hidden = false;
    await take(answer, !keep);
    if (second) await openSecond(second, true);
    announce(`The face was found. ${qualityWords(answer).title}`);
  } catch (error) {
    if (mine === now.opening) fail(error);
  } finally {
    if (mine === now.opening) working("");
  }
}

/** Show a face that the server has found or fitted anew. */
async function take(answer, fresh) {
  now.answer = answer;
  showQuality(answer);
  showFaces(answer);
  if (fresh) {
    setView("photo");
    setCompare(false);
  }
  const { session } = now;
  const before = await session.picture(PLAIN, FINE, "photo");
  await stage.paint(stage.before, before.blob);
  await stage.paint(stage.after, before.blob);
  stage.show();
  panels.showLight(before.light, true);
  refreshPicture();
  await newHead(session, before);
  refreshRest();
  await newTexture(session);
}

async function newHead(session, { light, pose }) {
  if (!viewer.gl) return;
  viewer.bitmap = null; // until the new one comes
  viewer.setHead(await session.head(PLAIN), true);
  viewer.setLight(light, pose, true);
}

async function newTexture(session) {
  if (!viewer.gl || !viewer.layout.textured) return;
  const bitmap = await createImageBitmap(await session.texture());
  if (now.session === session) viewer.setTexture(bitmap);
}

function showQuality(answer) {
  const words = qualityWords(answer);
  element("quality").dataset.verdict = words.verdict;
  element("quality-title").textContent = words.title;
  let { text } = words;
  if (answer.quality_before) {
    const [from, to] = [answer.quality_before.photometric_visible, answer.quality.photometric_visible];
    text += ` Difference from the photo: ${from.toFixed(1)} before, ${to.toFixed(1)} now (of 255).`;
  }
  element("quality-text").textContent = text;
  element("refine").textContent = answer.quality_before ? "Undo the closer fit" : "Fit more closely";
}

async function showFaces(answer) {
  const box = element("faces");
  box.hidden = answer.faces.length < 2;
  if (box.hidden) return void box.replaceChildren();
  const bitmap = await createImageBitmap(now.photo).catch(() => null);
  box.replaceChildren(...answer.faces.map(({ box: [left, top, right, bottom] }, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `Face ${index + 1} of ${answer.faces.length}`);
    button.setAttribute("aria-pressed", index === answer.face);
    const picture = document.createElement("canvas");
    picture.width = picture.height = 96;
    const side = 1.3 * Math.max(right - left, bottom - top);
    if (bitmap) picture.getContext("2d").drawImage(bitmap, (left + right - side) / 2, (top + bottom - side) / 2, side, side, 0, 0, 96, 96);
    button.append(picture);
    button.addEventListener("click", () => changeFace(index));
    return button;
  }));
  bitmap?.close();
}

/** Show a face anew: another one, or the same after so many steps of the optimiser (0: the network's own answer). */
async function changeFace(face, refine) {
  const same = face === now.answer.face;
  calm();
  working("Fitting\u2026");
  try {
    const answer = await now.session.face(face, refine);
    await take(answer, !same);
    announce(same ? element("quality-text").textContent : `Face ${face + 1}.`);
  } catch (error) {
    fail(error);
  } finally {
    working("");
  }
}

// --- the picture follows the sliders ----------------------------------------------------------------------

const pictures = new Latest(async ({ session, wanted, size, view, since }) => {
  const { blob, light, pose } = await session.picture(wanted, size, view);
  if (session !== now.session || view !== now.view) return;
  await stage.paint(stage.after, blob);
  panels.showLight(light, !changes(wanted));
  viewer.setLight(light, pose, false);
  if (since) measure(since, size);
}, fail);

const heads = new Latest(async ({ session, wanted }) => {
  const buffer = await session.head(wanted);
  if (session === now.session && viewer.gl) viewer.setHead(buffer, false);
}, fail);

const parts = new Latest(async ({ session, wanted }) => {
  const answer = await session.parts(wanted);
  if (session !== now.session) return;
  for (const [name, picture] of Object.entries(answer)) {
    const image = element(`part-${name}`);
    if (image.src) URL.revokeObjectURL(image.src);
    image.src = api.pictureUrl(picture);
  }
}, fail);

/** Note how long it took from the slider's event to the new picture on the screen, and aim for the target. */
function measure(since, size) {
  requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      const taken = performance.now() - since;
      performance.measure("slider-to-picture", { start: since, end: since + taken, detail: { size } });
      now.recent = [...now.recent.slice(-8), taken];
      const middle = [...now.recent].sort((a, b) => a - b)[now.recent.length >> 1];
      element("speed").textContent = `${Math.round(middle)} ms from slider to picture`;
      if (taken > TARGET) {
        now.step = Math.min(now.step + 1, FAST.length - 1);
        now.calm = 0;
      } else if (taken < 0.6 * TARGET) {
        now.calm += 1;
        if (now.calm > 12 && now.step) {
          now.step -= 1;
          now.calm = 0;
        }
      }
    };
    channel.port2.postMessage(0); // runs after the frame has been drawn
  });
}

/** Ask for everything anew, the picture at full size. */
function refresh() {
  refreshPicture();
  refreshRest();
}

function refreshPicture() {
  const { session, view } = now;
  if (!session) return;
  pictures.request({ session, wanted: look(), size: FINE, view, since: 0 });
}

function refreshRest() {
  const { session } = now;
  if (!session) return;
  const wanted = look();
  heads.request({ session, wanted });
  parts.request({ session, wanted });
}

const sharpen = settled(refreshPicture, 200);
const followUp = settled(refreshRest, 450);

function onChange(event) {
  const { session, view } = now;
  if (!session) return;
  pictures.request({ session, wanted: look(), size: FAST[now.step], view, since: event?.timeStamp || performance.now() });
  sharpen();
  followUp();
}

function setView(view) {
  now.view = view;
  for (const name of ["photo", "model"]) element(`view-${name}`).setAttribute("aria-pressed", name === view);
  stage.after.setAttribute("aria-label", view === "photo" ? "The edited photo" : "The reconstructed face laid over the photo");
}

function setCompare(on) {
  element("compare").setAttribute("aria-pressed", on);
  stage.compare(on);
}

// --- a second photo ---------------------------------------------------------------------------------------

function forgetSecond() {
  now.second = null;
  element("second-picture").hidden = true;
  element("second-note").textContent = "Of it only the 350 parameters are kept.";
  element("choose-second").textContent = "Choose a second photo";
  panels.allowTransfer(false);
}

async function openSecond(photo, keep = false) {
  calm();
  element("second-note").textContent = "Finding the face\u2026";
  try {
    const answer = await now.session.second(photo);
    now.second = photo;
    const picture = element("second-picture");
    if (picture.src) URL.revokeObjectURL(picture.src);
    picture.src = api.pictureUrl(answer.thumbnail);
    picture.hidden = false;
    element("choose-second").textContent = "Choose another";
    const doubt = answer.quality.verdict === "good" ? "" : " Look closely: this face was hard to read.";
    element("second-note").textContent = `Ready: move the sliders.${doubt}`;
    panels.allowTransfer(true);
    if (!keep && !Object.values(panels.state.transfer).some(Boolean)) {
      panels.state.transfer.expression = 1;
      panels.refresh();
    }
    refresh();
  } catch (error) {
    element("second-note").textContent = "Choose another photo.";
    fail(error);
  }
}

// --- taking things home, leaving --------------------------------------------------------------------------

async function download(button) {
  const file = button.dataset.download;
  const stem = (now.photo.name || "photo").replace(/\.[^.]*$/, "") || "photo";
  const names = { "photo.png": `${stem}-edited.png`, "face.glb": `${stem}-face.glb`, "face.json": `${stem}-parameters.json` };
  calm();
  button.disabled = true;
  button.classList.add("busy");
  try {
    const url = URL.createObjectURL(await now.session.download(file, look()));
    Object.assign(document.createElement("a"), { href: url, download: names[file] }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    announce(`${names[file]} is being saved.`);
  } catch (error) {
    fail(error);
  } finally {
    button.disabled = false;
    button.classList.remove("busy");
  }
}

async function forget() {
  const { session } = now;
  now.opening += 1;
  Object.assign(now, { session: null, photo: null, answer: null });
  for (const queue of [pictures, heads, parts]) queue.drop();
  forgetSecond();
  panels.reset();
  for (const canvas of [stage.after, stage.before]) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  element("studio").hidden = true;
  element("top-actions").hidden = true;
  element("welcome").hidden = false;
  calm();
  try {
    await session?.forget();
    announce("The photo was forgotten.");
  } catch (error) {
    fail(error);
  }
  element("choose").focus();
}

// --- wiring -----------------------------------------------------------------------------------------------

function fileInput(id, work) {
  element(id).addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file) work(file);
  });
}

function acceptDrops() {
  const veil = element("drop-veil");
  let depth = 0;
  const over = (on) => {
    veil.hidden = !on || element("studio").hidden;
    element("drop").classList.toggle("over", on);
  };
  const carriesFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  window.addEventListener("dragenter", (event) => { if (carriesFile(event)) { depth += 1; over(true); } });
  window.addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); over(depth > 0); });
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    over(false);
    const [file] = event.dataTransfer.files;
    if (file) open(file);
  });
  window.addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file) open(file);
  });
}

function wire() {
  const camera = cameraDialog(open);
  element("choose").addEventListener("click", () => element("file").click());
  element("new-photo").addEventListener("click", () => element("file").click());
  element("open-camera").addEventListener("click", camera.open);
  element("demo").addEventListener("click", async () => {
    working("Fetching the demo photo\u2026");
    try {
      open(new File([await api.demoPhoto()], "demo.jpg", { type: "image/jpeg" }));
    } catch (error) {
      working("");
      fail(error);
    }
  });
  fileInput("file", open);
  element("choose-second").addEventListener("click", () => element("second-file").click());
  fileInput("second-file", openSecond);
  element("forget").addEventListener("click", forget);
  element("refine").addEventListener("click", () => changeFace(now.answer.face, now.answer.quality_before ? 0 : 12));
  element("reset").addEventListener("click", () => { panels.reset(); refresh(); announce("All edits were taken back."); });
  element("compare").addEventListener("click", () => setCompare(!stage.comparing));
  const hold = element("hold");
  for (const name of ["pointerdown", "pointerup", "pointercancel", "pointerleave"]) {
    hold.addEventListener(name, () => stage.hold(name === "pointerdown"));
  }
  hold.addEventListener("keydown", (event) => { if ([" ", "Enter"].includes(event.key)) { event.preventDefault(); stage.hold(true); } });
  for (const name of ["keyup", "blur"]) hold.addEventListener(name, () => stage.hold(false));
  hold.addEventListener("contextmenu", (event) => event.preventDefault());
  for (const view of ["photo", "model"]) element(`view-${view}`).addEventListener("click", () => { setView(view); refresh(); });
  for (const button of document.querySelectorAll("[data-paint]")) {
    button.addEventListener("click", () => {
      viewer.setPaint(button.dataset.paint);
      for (const one of document.querySelectorAll("[data-paint]")) one.setAttribute("aria-pressed", one === button);
    });
  }
  for (const button of document.querySelectorAll("[data-download]")) button.addEventListener("click", () => download(button));
  acceptDrops();
  window.addEventListener("pagehide", () => now.session?.leave());
  window.addEventListener("pageshow", (event) => {
    // The browser shows the page as it was left, but the photo was forgotten with it.
    if (event.persisted && now.session) fail(Object.assign(new Error(""), { code: "session-lost" }));
  });
}

function showPrivacy({ idle_seconds: idle }) {
  const minutes = Math.max(1, Math.round(idle / 60));
  element("privacy").textContent = `Your photo is held in this server\u2019s memory only while you work. It is never saved, and it is forgotten when you leave or after ${minutes} idle minutes.`;
}

async function start() {
  try {
    const [offered, layout] = await Promise.all([api.options(), api.headLayout()]);
    options = offered;
    panels = new Panels(options, onChange);
    viewer = new HeadViewer(element("head"), layout);
    if (!viewer.layout.textured) element("head").parentElement.querySelector('[data-paint="photo"]').hidden = true;
    showPrivacy(options);
    wire();
    document.documentElement.dataset.ready = "true";
    if (!viewer.gl) fail(Object.assign(new Error(""), { code: "webgl" }));
  } catch (error) {
    fail(error);
  }
}

start();

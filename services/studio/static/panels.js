// The controls: builds the sliders from what the server offers, and keeps them in step with the state.
import { LightBall, drawBall, exposure } from "./ball.js";
import { degrees, percent, signed, slider } from "./sliders.js";
import { unchanged } from "./look.js";

const element = (id) => document.getElementById(id);
const pretty = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("-", " ");

/** Everything beside the picture. */
export class Panels {
  /**
   * @param {object} options what the server offers
   * @param {(event: Event) => void} onChange
   */
  constructor(options, onChange) {
    this.state = unchanged();
    this.onChange = onChange;
    this.expressions = options.expressions.flatMap((group) => group.sliders);
    this.puts = []; // put every control where the state is
    this.ball = new LightBall(element("ball"), (where, event) => {
      Object.assign(this.state.light, where, { kind: "lamp" });
      if (!this.state.light.strength) this.state.light.strength = 1;
      this.changed(event);
    });
    this.buildLight(options.lights);
    this.buildExpression(options.expressions);
    this.buildRest();
    this.buildTabs();
    this.refresh();
  }

  changed(event) {
    this.refreshLight();
    this.onChange(event);
  }

  add(place, wanted, read, write) {
    const made = slider({ ...wanted, onInput: (value, event) => { write(value); this.changed(event); } });
    this.puts.push(() => made.put(read()));
    element(place).append(made.row);
    return made;
  }

  buildLight(lights) {
    const get = () => this.state.light;
    const lamp = (name) => (value) => Object.assign(get(), { [name]: value, kind: "lamp" });
    this.add("light-sliders", { id: "azimuth", label: "Around", min: -180, max: 180, step: 1, value: 0, format: degrees }, () => get().azimuth, lamp("azimuth"));
    this.add("light-sliders", { id: "height", label: "Height", min: -90, max: 90, step: 1, value: 0, format: degrees }, () => get().height, lamp("height"));
    this.add("light-sliders", { id: "ambient", label: "Softness", min: 0, max: 1, step: 0.01, value: 0.25, format: percent }, () => get().ambient, lamp("ambient"));
    this.add("light-more", { id: "brightness", label: "Brightness", min: 0.3, max: 2, step: 0.01, value: 1, format: percent }, () => get().brightness, (value) => { get().brightness = value; });
    this.add("light-more", { id: "strength", label: "Strength", min: 0, max: 1, step: 0.01, value: 1, format: percent }, () => get().strength, (value) => { get().strength = value; });
    const row = document.createElement("div");
    row.className = "slider colour";
    row.innerHTML = '<label for="lamp-colour">Lamp colour</label><input type="color" id="lamp-colour" value="#ffffff">';
    element("light-more").append(row);
    const colour = element("lamp-colour");
    colour.addEventListener("input", (event) => {
      Object.assign(get(), { colour: colour.value, kind: "lamp" });
      this.changed(event);
    });
    this.puts.push(() => { colour.value = get().colour; });

    this.chips = [{ name: "", label: "Own" }, ...lights.map(({ name, coefficients }) => ({ name, label: pretty(name), coefficients: coefficients.flat() }))].map((wanted) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.light = wanted.name || "own";
      const picture = new Image(88, 88);
      picture.alt = "";
      button.append(picture, Object.assign(document.createElement("span"), { textContent: wanted.label }));
      if (wanted.coefficients) drawBall(picture, wanted.coefficients, 0.75);
      button.addEventListener("click", (event) => {
        Object.assign(get(), wanted.name ? { kind: "named", name: wanted.name } : { ...unchanged().light });
        if (wanted.name && !get().strength) get().strength = 1;
        this.refresh();
        this.onChange(event);
      });
      element("lights").append(button);
      return { ...wanted, button, picture };
    });
  }

  buildExpression(groups) {
    this.add("expression-sliders", { id: "own", label: "Own expression", min: 0, max: 1, step: 0.01, value: 1, format: percent }, () => this.state.own, (value) => { this.state.own = value; });
    for (const group of groups) {
      let place = "expression-sliders";
      if (!group.useful) {
        place = `units-${group.name.toLowerCase().replaceAll(" ", "-")}`;
        const box = document.createElement("details");
        box.className = "fold inner";
        box.innerHTML = '<summary></summary><div class="sliders"></div>';
        box.firstChild.textContent = group.name;
        box.lastChild.id = place;
        element("all-units").append(box);
      }
      for (const { id, label } of group.sliders) {
        this.add(place, { id, label, min: -1, max: 1, step: 0.02, value: 0, format: (value) => signed(Math.round(100 * value)) }, () => this.state.sliders[id] ?? 0, (value) => { this.state.sliders[id] = value; });
      }
    }
    const units = groups.filter((group) => !group.useful).reduce((sum, group) => sum + group.sliders.length, 0);
    element("unit-count").textContent = `${units}`;
    element("neutral").addEventListener("click", (event) => {
      this.state.own = 0;
      this.state.sliders = {};
      this.refresh();
      this.onChange(event);
    });
  }

  buildRest() {
    const angle = (id, label, reach, left, right) =>
      this.add("pose-sliders", { id, label, min: -reach, max: reach, step: 0.5, value: 0, format: degrees, left, right }, () => this.state.pose[id], (value) => { this.state.pose[id] = value; });
    angle("yaw", "Turn (yaw)", 35, "to the left", "to the right");
    angle("pitch", "Nod (pitch)", 25, "up", "down");
    angle("roll", "Tilt (roll)", 30, "clockwise", "counter-clockwise");
    this.add("face-sliders", { id: "tone", label: "Skin tone", min: -3, max: 3, step: 0.05, value: 0, format: (value) => signed(Math.round(10 * value) / 10), left: "darker", right: "lighter" }, () => this.state.tone, (value) => { this.state.tone = value; });
    this.add("face-sliders", { id: "character", label: "Character", min: 0, max: 2, step: 0.02, value: 1, format: percent, left: "average head", right: "caricature" }, () => this.state.character, (value) => { this.state.character = value; });
    for (const [id, label] of [["expression", "Expression"], ["light", "Light"], ["reflectance", "Skin"], ["shape", "Shape of the head"]]) {
      const made = this.add("transfer-sliders", { id: `transfer-${id}`, label, min: 0, max: 1, step: 0.01, value: 0, format: percent }, () => this.state.transfer[id], (value) => { this.state.transfer[id] = value; });
      made.input.disabled = true;
    }
  }

  allowTransfer(on) {
    for (const input of element("transfer-sliders").querySelectorAll("input")) input.disabled = !on;
  }

  buildTabs() {
    const tabs = [...document.querySelectorAll("[role=tab]")];
    const choose = (tab) => {
      for (const one of tabs) {
        const on = one === tab;
        one.setAttribute("aria-selected", on);
        one.tabIndex = on ? 0 : -1;
        element(one.getAttribute("aria-controls")).hidden = !on;
      }
    };
    tabs.forEach((tab, index) => {
      tab.addEventListener("click", () => choose(tab));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const next = tabs[(index + step + tabs.length) % tabs.length];
        choose(next);
        next.focus();
      });
    });
  }

  /** Put all controls where the state is. */
  refresh() {
    for (const put of this.puts) put();
    this.refreshLight();
  }

  refreshLight() {
    const { light } = this.state;
    for (const { name, button } of this.chips) {
      const on = light.kind === "named" ? name === light.name : light.kind === "own" && !name;
      if (button.getAttribute("aria-pressed") !== `${on}`) button.setAttribute("aria-pressed", on);
    }
    const lamp = light.kind === "lamp" ? light : null;
    if (lamp) {
      element("s-azimuth").value = lamp.azimuth;
      element("s-height").value = lamp.height;
      for (const [id, value] of [["azimuth", lamp.azimuth], ["height", lamp.height]]) {
        element(`s-${id}`).parentElement.querySelector(".value").textContent = degrees(value);
      }
    }
    const words = { own: "the photo's own light", named: `the light ${light.name}`, lamp: `${light.azimuth} degrees around, ${light.height} degrees up` };
    this.ball.show(null, lamp, words[light.kind]);
  }

  /** Show the light that the picture has now. */
  showLight(light, own) {
    this.ball.light = light;
    this.ball.draw();
    if (!own) return;
    this.ball.scale = exposure(light);
    this.ball.draw();
    drawBall(this.chips[0].picture, light, this.ball.scale);
  }

  reset() {
    this.state = unchanged();
    this.refresh();
  }
}

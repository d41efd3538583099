// A ball in a light of nine spherical-harmonics coefficients, and the lamp that is dragged around it.
import { angles, direction } from "./look.js";

const S3 = Math.sqrt(3);
const S5 = Math.sqrt(5);
const S15 = Math.sqrt(15);
const RADIUS = 0.9;
const CLAY = 0.8;

const encode = new Uint8ClampedArray(1025);
for (let i = 0; i <= 1024; i += 1) {
  const value = i / 1024;
  encode[i] = Math.round(255 * (value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055));
}

/** The nine functions of a unit normal, in the order of the library's `illumination`. */
export function basis(x, y, z) {
  return [1, S3 * y, S3 * z, S3 * x, S15 * x * y, S15 * y * z, (S5 / 2) * (3 * z * z - 1), S15 * x * z, (S15 / 2) * (x * x - y * y)];
}

// Pixels come from here, not from the graphics card, so the canvas stays beside them.
const drawing = (canvas) => canvas.getContext("2d", { willReadFrequently: true });

const tables = new Map(); // by side: which pixels the ball covers, how far, and the nine functions there

function tableOf(size) {
  if (tables.has(size)) return tables.get(size);
  const radius = (size / 2) * RADIUS;
  const [places, covers, functions] = [[], [], []];
  for (let place = 0; place < size * size; place += 1) {
    let x = ((place % size) + 0.5 - size / 2) / radius;
    let y = -(Math.floor(place / size) + 0.5 - size / 2) / radius;
    const far = Math.hypot(x, y);
    const cover = Math.min(1, Math.max(0, (1 - far) * radius + 0.5));
    if (!cover) continue;
    if (far > 0.999) {
      x *= 0.999 / far;
      y *= 0.999 / far;
    }
    places.push(place);
    covers.push(255 * cover);
    functions.push(...basis(x, y, Math.sqrt(Math.max(0, 1 - x * x - y * y))));
  }
  const table = { places: Uint32Array.from(places), covers: Uint8Array.from(covers), functions: Float32Array.from(functions) };
  tables.set(size, table);
  return table;
}

/**
 * Return the picture of the ball.
 * @param {number} size of its sides
 * @param {number[]} light 27 numbers, coefficient-major
 * @param {number} scale of the whole light
 */
export function ballImage(size, light, scale) {
  const { places, covers, functions } = tableOf(size);
  const image = new ImageData(size, size);
  const { data } = image;
  const factors = Float32Array.from(light, (value) => 1024 * CLAY * scale * value);
  for (let n = 0; n < places.length; n += 1) {
    const at = 4 * places[n];
    for (let channel = 0; channel < 3; channel += 1) {
      let sum = 0;
      for (let i = 0; i < 9; i += 1) sum += functions[9 * n + i] * factors[3 * i + channel];
      data[at + channel] = encode[sum <= 0 ? 0 : sum >= 1024 ? 1024 : Math.round(sum)];
    }
    data[at + 3] = covers[n];
  }
  return image;
}

/** Draw the ball into an image, which a browser without a graphics card puts on the page faster than a canvas. */
export function drawBall(image, light, scale = 1) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = image.width;
  drawing(canvas).putImageData(ballImage(image.width, light, scale), 0, 0);
  canvas.toBlob((blob) => {
    if (image.src) URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(blob);
  });
}

/** The scale that shows a light's brightest side just below white. */
export function exposure(light) {
  let brightest = 0.05;
  for (let step = 0; step < 400; step += 1) {
    const z = (step + 0.5) / 400;
    const [flat, angle] = [Math.sqrt(1 - z * z), step * 2.399963];
    const functions = basis(flat * Math.cos(angle), flat * Math.sin(angle), z);
    for (let channel = 0; channel < 3; channel += 1) {
      brightest = Math.max(brightest, functions.reduce((sum, value, i) => sum + value * light[3 * i + channel], 0));
    }
  }
  return 0.92 / (CLAY * brightest);
}

/** The large ball: shows the present light, and the lamp where it is dragged. */
export class LightBall {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {(where: {azimuth: number, height: number}, event: Event) => void} onMove
   */
  constructor(canvas, onMove) {
    this.canvas = canvas;
    this.onMove = onMove;
    this.light = new Array(27).fill(0).fill(0.8, 0, 3);
    this.lamp = null;
    this.scale = 1; // shows the photo's own light just below white
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.drag(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) this.drag(event);
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  show(light, lamp, words) {
    if (light) this.light = light;
    this.lamp = lamp;
    this.canvas.setAttribute("aria-valuenow", lamp ? lamp.azimuth : 0);
    this.canvas.setAttribute("aria-valuetext", words);
    this.draw();
  }

  draw() {
    const context = drawing(this.canvas);
    if (this.drawn !== this.light || this.drawnScale !== this.scale) {
      this.image = ballImage(this.canvas.width, this.light, this.scale);
      [this.drawn, this.drawnScale] = [this.light, this.scale];
    }
    context.putImageData(this.image, 0, 0);
    const size = this.canvas.width;
    // A thin outline, for a ball as white as the page.
    context.beginPath();
    context.arc(size / 2, size / 2, (size / 2) * RADIUS, 0, 2 * Math.PI);
    context.strokeStyle = "rgba(90, 80, 100, 0.3)";
    context.lineWidth = 1.5;
    context.stroke();
    if (!this.lamp) return;
    const [x, y, z] = direction(this.lamp);
    // A lamp behind the ball lies outside its outline, farther out the farther behind.
    const flat = Math.hypot(x, y) || 1e-6;
    const out = z >= 0 ? flat : 2 - flat;
    const reach = (size / 2) * RADIUS * Math.min(out, 1.08);
    const cx = size / 2 + (x / flat) * reach;
    const cy = size / 2 - (y / flat) * reach;
    context.beginPath();
    context.arc(cx, cy, size * 0.045, 0, 2 * Math.PI);
    context.fillStyle = z >= 0 ? "#fff6d8" : "#8a8090";
    context.strokeStyle = "rgba(20, 14, 30, 0.85)";
    context.lineWidth = size * 0.014;
    context.fill();
    context.stroke();
  }

  drag(event) {
    const box = this.canvas.getBoundingClientRect();
    const radius = (box.width / 2) * RADIUS;
    const x = (event.clientX - box.left - box.width / 2) / radius;
    const y = -(event.clientY - box.top - box.height / 2) / radius;
    const far = Math.hypot(x, y);
    const flat = far <= 1 ? far : Math.max(2 - far, 0.55);
    const z = Math.sqrt(Math.max(0, 1 - flat * flat)) * (far <= 1 ? 1 : -1);
    const along = far > 1e-6 ? flat / far : 0;
    this.onMove(angles([x * along, y * along, z]), event);
  }

  key(event) {
    const steps = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const { azimuth, height } = this.lamp ?? { azimuth: 0, height: 0 };
    const around = ((azimuth + step[0] + 540) % 360) - 180;
    this.onMove({ azimuth: around, height: Math.max(-90, Math.min(90, height + step[1])) }, event);
  }
}

// What the controls say, as the edits that every interface of InverseFaceNet reads.

const RADIANS = Math.PI / 180;
const LARGEST_UNIT = 1.5;

/** The state in which nothing is edited. */
export const unchanged = () => ({
  light: { kind: "own", name: "", azimuth: 0, height: 0, colour: "#ffffff", ambient: 0.25, strength: 1, brightness: 1 },
  sliders: {}, // expression sliders by id
  own: 1, // share of the photo's own expression
  pose: { yaw: 0, pitch: 0, roll: 0 },
  tone: 0,
  character: 1,
  transfer: { expression: 0, light: 0, reflectance: 0, shape: 0 },
});

/** The unit vector from the face to the lamp: x right, y up, z to the viewer. */
export function direction({ azimuth, height }) {
  const flat = Math.cos(height * RADIANS);
  return [Math.sin(azimuth * RADIANS) * flat, Math.sin(height * RADIANS), Math.cos(azimuth * RADIANS) * flat];
}

/** Azimuth and height in degrees of a vector. */
export function angles([x, y, z]) {
  const length = Math.hypot(x, y, z) || 1;
  return {
    azimuth: Math.round(Math.atan2(x, z) / RADIANS),
    height: Math.round(Math.asin(Math.max(-1, Math.min(1, y / length))) / RADIANS),
  };
}

/** A colour of the colour picker in linear light. */
export function linear(hex) {
  return [1, 3, 5].map((at) => {
    const encoded = parseInt(hex.slice(at, at + 2), 16) / 255;
    return encoded <= 0.04045 ? encoded / 12.92 : ((encoded + 0.055) / 1.055) ** 2.4;
  });
}

function relight(light) {
  const strength = light.strength;
  if (light.kind === "own" || strength === 0) return [];
  if (light.kind === "named") return [{ edit: "relight", light: light.name, strength }];
  // A lamp that is black has no colour to give.
  const colour = linear(light.colour).map((value) => Math.max(value, 0.002));
  const lamp = { direction: direction(light), colour, ambient: light.ambient };
  return [{ edit: "relight", ...lamp, strength }];
}

function units(state, controls) {
  const sum = {};
  for (const { id, units: names } of controls) {
    const weight = state.sliders[id] ?? 0;
    if (weight) for (const name of names) sum[name] = (sum[name] ?? 0) + weight;
  }
  for (const name of Object.keys(sum)) {
    sum[name] = Math.max(-LARGEST_UNIT, Math.min(LARGEST_UNIT, sum[name]));
    if (!sum[name]) delete sum[name];
  }
  return sum;
}

/**
 * The look that the server is asked for.
 * @param {ReturnType<typeof unchanged>} state
 * @param {{id: string, units: string[]}[]} controls every expression slider
 * @param {boolean} second whether there is a second photo
 */
export function lookOf(state, controls, second) {
  const edits = [];
  const shares = Object.entries(state.transfer).filter(([, share]) => share > 0);
  if (second && shares.length) edits.push({ edit: "mix", from: "second", ...Object.fromEntries(shares) });
  if (state.own < 1) edits.push({ edit: "neutral", strength: 1 - state.own });
  const weights = units(state, controls);
  if (Object.keys(weights).length) edits.push({ edit: "expression", units: weights, relative: true });
  if (state.tone) edits.push({ edit: "skin", tone: state.tone });
  const { yaw, pitch, roll } = state.pose;
  if (yaw || pitch || roll) edits.push({ edit: "pose", yaw, pitch, roll });
  edits.push(...relight(state.light));
  return { edits, brightness: state.light.brightness, character: state.character };
}

/** Whether a look changes anything. */
export const changes = (look) => look.edits.length > 0 || look.brightness !== 1 || look.character !== 1;

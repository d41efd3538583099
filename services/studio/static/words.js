// Errors and quality in plain words.

const ADVICE = {
  "no-face": {
    title: "No face found",
    text: "The studio needs one face that it can see well.",
    points: ["Face the camera, with the head upright.", "Keep hair, hands and masks off the face.", "Even light, and not too far away: crop to head and shoulders."],
  },
  "unsupported-image": { title: "This is not a photo the studio can read", text: "Send a JPEG, PNG, WebP, AVIF, GIF, TIFF or BMP file." },
  "truncated-image": { title: "This photo is damaged", text: "The file ends early or is broken. Save or download it again." },
  "empty-image": { title: "This file is empty", text: "It holds no bytes. Choose another one." },
  "image-too-large": { title: "This photo is too large", text: "" },
  "body-too-large": { title: "This file is too large", text: "" },
  "body-timeout": { title: "The upload took too long", text: "Try again, or send a smaller photo." },
  "session-lost": { title: "The server has forgotten this photo", text: "A photo is let go when it was not used for a while, or when others need the room. Your edits are still here: send the photo again to go on.", resend: true },
  "studio-busy": { title: "The studio is busy", text: "Too many people use it just now. Try again in a moment.", again: true },
  "invalid-edit": { title: "This edit is not possible", text: "" },
  unreachable: { title: "The server does not answer", text: "It may be restarting, or your connection is down. Your edits are still here.", again: true },
  webgl: { title: "No 3D here", text: "This browser doesn't offer WebGL 2, so the head can't be drawn. Everything else works." },
};

/** What to tell about an error. */
export function explain(error) {
  const known = ADVICE[error.code];
  if (!known) return { title: "Something went wrong", text: error.message, again: true };
  return { ...known, text: known.text || error.message };
}

const WIDE = 40; // degrees
const SMALL = 70; // photo pixels

function reasons({ quality, parameters, faces, face }) {
  const found = [];
  const [left, , right] = faces[face].box;
  const [yaw, pitch] = parameters.rotation.map((angle) => Math.abs((angle * 180) / Math.PI));
  if (right - left < SMALL) found.push(`the face is small, only ${Math.round(right - left)} pixels wide`);
  if (yaw > WIDE) found.push("the face is turned far to the side");
  if (pitch > WIDE) found.push("the face looks far up or down");
  if (quality.nme > 0.06) found.push("eyes, nose and mouth don't sit quite where they are in the photo");
  if (quality.photometric_visible > 26) found.push("colours differ from the photo, as when something covers the face or shadows are hard");
  if (quality.iou < 0.85) found.push("the outline doesn't match");
  return found.slice(0, 2);
}

/** The quality signal as a title and a sentence. */
export function qualityWords(answer) {
  const { verdict, confidence } = answer.quality;
  const why = reasons(answer).join(", and ");
  const sure = confidence === undefined ? "" : ` Confidence ${confidence > 0.99 ? "over 99" : Math.round(100 * confidence)}%.`;
  if (verdict === "good") return { verdict, title: "Looks good.", text: `The face was found clearly and the model follows it.${sure}` };
  if (verdict === "doubtful") return { verdict, title: "Look closely:", text: `${why || "the face may be partly covered, blurred or turned away"}.${sure}` };
  if (verdict === "failed") {
    return { verdict, title: "This probably failed:", text: `${why || "what was found may be no face, or is mostly covered"}. Try another ${answer.faces.length > 1 ? "face or photo" : "photo"}.${sure}` };
  }
  return { verdict: "doubtful", title: "Look for yourself:", text: "how sure the answer is can't be said for this photo." };
}

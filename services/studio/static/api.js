// Talks to the server: one function per address, and errors as objects with a stable code.

/** What went wrong, in the words of the server's problem document. */
export class Problem extends Error {
  constructor(code, detail) {
    super(detail);
    this.code = code;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(`/api/${path}`, { ...options, credentials: "omit", cache: "no-store" });
  } catch {
    throw new Problem("unreachable", "The studio's server does not answer.");
  }
  if (response.ok) return response;
  let code = `http-${response.status}`;
  let detail = "The studio's server could not do this.";
  try {
    const problem = await response.json();
    code = problem.code ?? code;
    detail = problem.detail ?? detail;
  } catch {
    // An answer that is no problem document: a proxy's, most likely.
  }
  throw new Problem(code, detail);
}

const post = (path, body) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const options = async () => (await ask("options")).json();
export const demoPhoto = async () => (await ask("demo")).blob();
export const headLayout = async () => (await ask("head")).arrayBuffer();

export const openSession = async (blob) => (await ask("sessions", { method: "POST", body: blob })).json();

/** One photo that the server holds. */
export class Session {
  constructor(name) {
    this.name = name;
    this.number = 0;
  }

  at(what) {
    return `sessions/${this.name}/${what}`;
  }

  async picture(look, size, view) {
    this.number += 1;
    const response = await post(this.at("picture"), { look, size, view, number: this.number });
    return {
      blob: await response.blob(),
      light: JSON.parse(response.headers.get("Studio-Light")),
      pose: JSON.parse(response.headers.get("Studio-Pose")),
    };
  }

  async head(look) {
    this.number += 1;
    return (await post(this.at("head"), { look, number: this.number })).arrayBuffer();
  }

  async parts(look) {
    this.number += 1;
    return (await post(this.at("parts"), { look, number: this.number })).json();
  }

  async texture() {
    return (await ask(this.at("texture"))).blob();
  }

  async face(face, refine) {
    return (await post(this.at("face"), { face, refine })).json();
  }

  async second(blob) {
    return (await ask(this.at("second"), { method: "POST", body: blob })).json();
  }

  async download(file, look) {
    return (await post(this.at(`download/${file}`), { look })).blob();
  }

  async forget() {
    await ask(`sessions/${this.name}`, { method: "DELETE" });
  }

  /** Forget while the page goes away: nobody waits for the answer. */
  leave() {
    navigator.sendBeacon(`/api/${this.at("forget")}`);
  }
}

/** Turn base64 in JSON into an address that an image can show. */
export function pictureUrl({ type, base64 }) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type }));
}

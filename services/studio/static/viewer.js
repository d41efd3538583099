// The turning head: one mesh in one WebGL2 program, drawn only when something changes.

const VERTEX = `#version 300 es
in vec3 position; in vec3 normal; in vec2 uv; in vec3 skin; in vec3 skinBefore;
uniform mat4 camera; uniform mat3 turned; uniform mat3 posed;
out vec3 seen; out vec3 lit; out vec2 place; out vec3 colour; out vec3 colourBefore;
void main() {
  gl_Position = camera * vec4(position, 1.0);
  seen = turned * normal; lit = posed * normal; place = vec2(uv.x, 1.0 - uv.y); colour = skin; colourBefore = skinBefore;
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec3 seen; in vec3 lit; in vec2 place; in vec3 colour; in vec3 colourBefore;
uniform vec3 light[9]; uniform vec3 lightBefore[9]; uniform int paint; uniform sampler2D photo;
out vec4 shown;
vec3 linear(vec3 c) { return mix(c / 12.92, pow((c + 0.055) / 1.055, vec3(2.4)), step(0.04045, c)); }
vec3 encoded(vec3 c) { c = clamp(c, 0.0, 1.0); return mix(12.92 * c, 1.055 * pow(max(c, 1e-5), vec3(1.0 / 2.4)) - 0.055, step(0.0031308, c)); }
vec3 irradiance(vec3 n, vec3 c[9]) {
  return max(c[0] + 1.7320508 * (n.y * c[1] + n.z * c[2] + n.x * c[3])
    + 3.8729833 * (n.x * n.y * c[4] + n.y * n.z * c[5] + n.x * n.z * c[7])
    + 1.1180340 * (3.0 * n.z * n.z - 1.0) * c[6] + 1.9364917 * (n.x * n.x - n.y * n.y) * c[8], vec3(0.0));
}
void main() {
  vec3 n = normalize(lit);
  vec3 eye = normalize(seen);
  if (!gl_FrontFacing) { shown = vec4(encoded(vec3(0.03) + 0.05 * abs(eye.z)), 1.0); return; }
  vec3 c;
  if (paint == 0) {
    vec3 ratio = (irradiance(n, light) + 0.02) / (irradiance(n, lightBefore) + 0.02);
    vec3 skinRatio = (linear(colour) + 0.01) / (linear(colourBefore) + 0.01);
    c = linear(texture(photo, place).rgb) * clamp(ratio, 0.0, 8.0) * clamp(skinRatio, 0.0, 8.0);
  } else if (paint == 1) {
    c = linear(colour) * irradiance(n, light);
  } else {
    float key = max(dot(eye, normalize(vec3(-0.45, 0.55, 0.75))), 0.0);
    float rim = pow(1.0 - max(eye.z, 0.0), 3.0);
    c = vec3(0.52, 0.51, 0.50) * (0.16 + 0.72 * key) + 0.10 * rim;
  }
  shown = vec4(encoded(c), 1.0);
}`;

const DISTANCE = 700;
const PAINTS = { photo: 0, skin: 1, clay: 2 };

/** Rz(roll) Rx(pitch) Ry(yaw), row by row: the library's rotation. */
export function rotation([yaw, pitch, roll]) {
  const [ca, cb, cg] = [yaw, pitch, roll].map(Math.cos);
  const [sa, sb, sg] = [yaw, pitch, roll].map(Math.sin);
  return [
    [cg * ca - sg * sb * sa, -sg * cb, cg * sa + sg * sb * ca],
    [sg * ca + cg * sb * sa, cg * cb, sg * sa - cg * sb * ca],
    [-cb * sa, sb, cb * ca],
  ];
}

const columns = (rows) => [0, 1, 2].flatMap((column) => rows.map((row) => row[column]));

function readLayout(buffer) {
  const bytes = new Uint8Array(buffer);
  const end = bytes.indexOf(10) + 1;
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  const triangles = new Uint32Array(buffer, end, 3 * head.triangles);
  const uv = new Float32Array(buffer, end + triangles.byteLength, 2 * head.vertices);
  const vertex = new Uint32Array(buffer, end + triangles.byteLength + uv.byteLength, head.vertices);
  return { ...head, triangleList: triangles, uv, vertex };
}

/** Draws the head into a canvas. */
export class HeadViewer {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {ArrayBuffer} layout what `/api/head` answers
   */
  constructor(canvas, layout) {
    this.canvas = canvas;
    this.layout = readLayout(layout);
    this.angle = { yaw: 0, pitch: 0 };
    this.zoom = 1;
    this.paint = this.layout.textured ? "photo" : "skin";
    this.light = new Float32Array(27).fill(0.9, 0, 3);
    this.lightBefore = this.light;
    this.pose = [0, 0, 0];
    this.ready = false;
    this.bitmap = null; // the photo's texture
    this.frame = 0;
    this.start();
    this.listen();
    new ResizeObserver(() => this.draw()).observe(canvas);
    // Without a graphics card a drawing costs as much as a picture: none is made that nobody sees.
    this.visible = false;
    new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      if (this.stale) this.draw();
    }).observe(canvas);
  }

  start() {
    const gl = this.canvas.getContext("webgl2", { antialias: true, alpha: true, premultipliedAlpha: true });
    this.gl = gl;
    if (!gl) return;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    this.program = program;
    this.buffers = {};
    this.uniforms = Object.fromEntries(
      ["camera", "turned", "posed", "light", "lightBefore", "paint", "photo"].map((name) => [name, gl.getUniformLocation(program, name)]),
    );
    this.vao = gl.createVertexArray();
    gl.bindVertexArray(this.vao);
    for (const [name, size, type] of [["position", 3, gl.FLOAT], ["normal", 3, gl.FLOAT], ["uv", 2, gl.FLOAT], ["skin", 3, gl.UNSIGNED_BYTE], ["skinBefore", 3, gl.UNSIGNED_BYTE]]) {
      const at = gl.getAttribLocation(program, name);
      this.buffers[name] = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      if (at < 0) continue;
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, type, type !== gl.FLOAT, 0, 0);
    }
    this.upload("uv", this.layout.uv);
    const index = gl.createBuffer();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, index);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, this.layout.triangleList, gl.STATIC_DRAW);
    this.texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array([200, 170, 150, 255]));
    this.canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      this.gl = null;
    });
    this.canvas.addEventListener("webglcontextrestored", () => {
      this.start();
      if (this.last) this.setHead(this.last, false);
      if (this.bitmap) this.setTexture(this.bitmap);
    });
  }

  upload(name, values) {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
  }

  /**
   * Show a head.
   * @param {ArrayBuffer} buffer vertices and colours of the face model
   * @param {boolean} first whether it is the photo's own, which edits are relative to
   */
  setHead(buffer, first) {
    if (!this.gl) return;
    this.last = buffer;
    const { layout } = this;
    const count = layout.model_vertices;
    const points = new Float32Array(buffer, 0, 3 * count);
    const colours = new Uint8Array(buffer, 12 * count, 3 * count);
    const spread = (source, Type) => {
      const out = new Type(3 * layout.vertices);
      layout.vertex.forEach((from, to) => {
        for (let i = 0; i < 3; i += 1) out[3 * to + i] = source[3 * from + i];
      });
      return out;
    };
    const skin = spread(colours, Uint8Array);
    this.upload("position", spread(points, Float32Array));
    this.upload("normal", spread(this.normals(points), Float32Array));
    this.upload("skin", skin);
    if (first || !this.skinBefore) this.skinBefore = skin;
    this.upload("skinBefore", this.skinBefore);
    this.ready = true;
    this.draw();
  }

  normals(points) {
    const { triangleList, vertex } = this.layout;
    const out = new Float32Array(points.length);
    for (let t = 0; t < triangleList.length; t += 3) {
      const [a, b, c] = [3 * vertex[triangleList[t]], 3 * vertex[triangleList[t + 1]], 3 * vertex[triangleList[t + 2]]];
      const ux = points[b] - points[a];
      const uy = points[b + 1] - points[a + 1];
      const uz = points[b + 2] - points[a + 2];
      const wx = points[c] - points[a];
      const wy = points[c + 1] - points[a + 1];
      const wz = points[c + 2] - points[a + 2];
      const nx = uy * wz - uz * wy;
      const ny = uz * wx - ux * wz;
      const nz = ux * wy - uy * wx;
      for (const v of [a, b, c]) {
        out[v] += nx;
        out[v + 1] += ny;
        out[v + 2] += nz;
      }
    }
    return out;
  }

  setTexture(bitmap) {
    const { gl } = this;
    if (!gl) return;
    this.bitmap = bitmap;
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    this.draw();
  }

  /** Put the head into a light; `first` makes it the light that is in the photo's texture. */
  setLight(light, pose, first) {
    this.light = new Float32Array(light);
    this.pose = pose;
    if (first) this.lightBefore = this.light;
    this.draw();
  }

  setPaint(paint) {
    this.paint = paint;
    this.draw();
  }

  draw() {
    this.stale = true;
    if (!this.frame && this.visible) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.render();
      });
    }
  }

  render() {
    const { gl, canvas, uniforms } = this;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * ratio)));
    if (!gl || !this.ready || !canvas.clientWidth) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    this.stale = false;
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.useProgram(this.program);
    gl.bindVertexArray(this.vao);
    const turned = rotation([this.angle.yaw, this.angle.pitch, 0]);
    gl.uniformMatrix4fv(uniforms.camera, false, this.cameraMatrix(turned, width / height));
    gl.uniformMatrix3fv(uniforms.turned, false, columns(turned));
    gl.uniformMatrix3fv(uniforms.posed, false, columns(rotation(this.pose)));
    gl.uniform3fv(uniforms.light, this.light);
    gl.uniform3fv(uniforms.lightBefore, this.lightBefore);
    gl.uniform1i(uniforms.paint, PAINTS[this.paint === "photo" && !this.bitmap ? "skin" : this.paint]);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.drawElements(gl.TRIANGLES, this.layout.triangleList.length, gl.UNSIGNED_INT, 0);
  }

  cameraMatrix(turned, aspect) {
    const focal = 6.6 * this.zoom;
    const [near, far] = [300, 1100];
    const low = 12; // millimetres: the head's middle lies a little above its pivot
    const a = -(far + near) / (far - near);
    const b = (-2 * far * near) / (far - near);
    const sx = focal / Math.max(aspect, 1);
    const sy = focal * Math.min(aspect, 1);
    const rows = [
      [...turned[0].map((value) => sx * value), 0],
      [...turned[1].map((value) => sy * value), -sy * low],
      [...turned[2].map((value) => a * value), -a * DISTANCE + b],
      [...turned[2].map((value) => -value), DISTANCE],
    ];
    return [0, 1, 2, 3].flatMap((column) => rows.map((row) => row[column]));
  }

  turn(yaw, pitch) {
    this.angle.yaw = Math.max(-1.6, Math.min(1.6, this.angle.yaw + yaw));
    this.angle.pitch = Math.max(-1.0, Math.min(1.0, this.angle.pitch + pitch));
    this.draw();
  }

  listen() {
    const { canvas } = this;
    let last = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      last = [event.clientX, event.clientY];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last || !canvas.hasPointerCapture(event.pointerId)) return;
      this.turn((event.clientX - last[0]) / 130, (event.clientY - last[1]) / 130);
      last = [event.clientX, event.clientY];
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });
    canvas.addEventListener("dblclick", () => {
      Object.assign(this.angle, { yaw: 0, pitch: 0 });
      this.zoom = 1;
      this.draw();
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom = Math.max(0.6, Math.min(3, this.zoom * Math.exp(-event.deltaY / 900)));
      this.draw();
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, -0.12], ArrowDown: [0, 0.12] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.turn(...step);
    });
  }
}

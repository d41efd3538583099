// The large picture: after, before, and the divider between them.

/** Shows two pictures on top of each other. */
export class Stage {
  constructor(elements) {
    Object.assign(this, elements); // after, before, divider, tagBefore, tagAfter, stage
    this.split = 0.5;
    this.comparing = false;
    this.holding = false;
    this.divider.addEventListener("pointerdown", (event) => {
      this.divider.setPointerCapture(event.pointerId);
      event.preventDefault();
      this.divider.focus();
    });
    this.divider.addEventListener("pointermove", (event) => {
      if (this.divider.hasPointerCapture(event.pointerId)) this.drag(event);
    });
    this.divider.addEventListener("keydown", (event) => this.key(event));
    // In comparison, the picture itself may be taken hold of too.
    this.stage.addEventListener("pointerdown", (event) => {
      if (this.comparing && event.target !== this.divider) this.drag(event);
    });
  }

  drag(event) {
    const box = this.stage.getBoundingClientRect();
    this.setSplit((event.clientX - box.left) / box.width);
  }

  key(event) {
    const steps = { ArrowLeft: -0.05, ArrowDown: -0.05, ArrowRight: 0.05, ArrowUp: 0.05, Home: -1, End: 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.setSplit(this.split + steps[event.key]);
  }

  setSplit(split) {
    this.split = Math.max(0, Math.min(1, split));
    this.show();
  }

  compare(on) {
    this.comparing = on;
    this.show();
  }

  hold(on) {
    this.holding = on;
    this.show();
  }

  show() {
    const { before, divider, split } = this;
    before.hidden = !this.comparing && !this.holding;
    divider.hidden = this.tagAfter.hidden = !this.comparing || this.holding;
    this.tagBefore.hidden = before.hidden;
    const part = this.holding ? 1 : split;
    before.style.clipPath = `inset(0 ${100 * (1 - part)}% 0 0)`;
    divider.style.left = `${100 * split}%`;
    divider.setAttribute("aria-valuenow", Math.round(100 * split));
    divider.setAttribute("aria-valuetext", `${Math.round(100 * split)}% before`);
    const narrow = this.comparing && !this.holding;
    this.tagBefore.classList.toggle("faint", narrow && split < 0.2);
    this.tagAfter.classList.toggle("faint", narrow && split > 0.8);
  }

  /** Draw a picture; resolves when the browser has shown it. */
  async paint(canvas, blob) {
    const bitmap = await createImageBitmap(blob);
    if (canvas.width !== bitmap.width) canvas.width = canvas.height = bitmap.width;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
  }
}

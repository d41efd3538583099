// A labelled slider with its value in words; double-click or the value's button puts it back.

/**
 * Make a slider.
 * @param {{id: string, label: string, min: number, max: number, step: number, value: number,
 *          format?: (value: number) => string, left?: string, right?: string,
 *          onInput: (value: number, event: Event) => void}} wanted
 */
export function slider(wanted) {
  const { id, label, min, max, step, value, onInput } = wanted;
  const format = wanted.format ?? ((number) => `${number}`);
  const row = document.createElement("div");
  row.className = "slider";
  const name = document.createElement("label");
  name.htmlFor = `s-${id}`;
  name.textContent = label;
  const shown = document.createElement("button");
  shown.type = "button";
  shown.className = "value";
  const input = document.createElement("input");
  Object.assign(input, { type: "range", id: `s-${id}`, min, max, step, value });
  row.append(name, shown, input);
  if (wanted.left) {
    const ends = document.createElement("div");
    ends.className = "ends";
    ends.setAttribute("aria-hidden", "true");
    ends.append(...[wanted.left, wanted.right].map((text) => Object.assign(document.createElement("span"), { textContent: text })));
    row.append(ends);
  }
  const show = () => {
    const number = Number(input.value);
    shown.textContent = format(number);
    shown.setAttribute("aria-label", `${label}: ${format(number)}. Put back.`);
    shown.disabled = number === value;
    input.setAttribute("aria-valuetext", format(number));
    const zero = (Math.max(min, Math.min(max, value)) - min) / (max - min);
    const now = (number - min) / (max - min);
    input.style.setProperty("--low", `${100 * Math.min(zero, now)}%`);
    input.style.setProperty("--high", `${100 * Math.max(zero, now)}%`);
  };
  const put = (number) => {
    input.value = number;
    show();
  };
  const back = (event) => {
    put(value);
    onInput(value, event);
  };
  input.addEventListener("input", (event) => {
    show();
    onInput(Number(input.value), event);
  });
  input.addEventListener("dblclick", back);
  shown.addEventListener("click", back);
  show();
  return { row, input, put };
}

export const percent = (value) => `${Math.round(100 * value)}%`;
export const signed = (value) => (value > 0 ? "+" : value < 0 ? "\u2212" : "") + Math.abs(value);
export const degrees = (value) => `${signed(value)}\u00b0`;

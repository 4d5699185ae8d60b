// Controls of the page: a choice, a range with two ends, and a histogram with the colour scale.

/** A row of buttons, one of them selected (radio buttons, so that the keyboard works). */
export class Choice {
  constructor(host, options, onChange) {
    this.inputs = options.map(([value, text, title]) => {
      const label = document.createElement("label");
      const input = document.createElement("input");
      Object.assign(input, { type: "radio", name: host.id, value, id: `${host.id}-${value}` });
      input.addEventListener("change", () => onChange(value));
      label.append(input, Object.assign(document.createElement("span"), { textContent: text }));
      if (title) label.title = title;
      host.append(label);
      return input;
    });
  }

  set(value, disabled = []) {
    for (const input of this.inputs) {
      input.checked = input.value === value;
      input.disabled = disabled.includes(input.value);
    }
  }
}

const STEPS = 1000;

/** Two sliders on one track: from and to, each 0 to 1. */
export class Range {
  constructor(host, labels, onChange) {
    this.host = host;
    this.inputs = labels.map((text, end) => {
      const input = document.createElement("input");
      Object.assign(input, { type: "range", min: 0, max: STEPS, step: 1, id: `${host.id}-${end ? "high" : "low"}` });
      input.setAttribute("aria-label", text);
      input.addEventListener("input", () => {
        const pair = this.inputs.map((each) => each.valueAsNumber);
        // Keep the ends at least one step apart.
        if (pair[1] - pair[0] < 1) pair[end] = end ? pair[0] + 1 : pair[1] - 1;
        onChange(pair.map((x) => x / STEPS), end);
      });
      host.append(input);
      return input;
    });
  }

  set(pair, texts = []) {
    pair.forEach((x, end) => {
      this.inputs[end].value = Math.round(x * STEPS);
      this.inputs[end].setAttribute("aria-valuetext", texts[end] ?? x.toFixed(2));
    });
    // If both are at one end, the one that can still move is on top.
    this.inputs[0].style.zIndex = pair[0] > 0.5 ? 2 : 1;
    this.inputs[1].style.zIndex = pair[0] > 0.5 ? 1 : 2;
    this.host.style.setProperty("--low", pair[0]);
    this.host.style.setProperty("--high", pair[1]);
  }
}

const BINS = 96;

/** Histogram of the values on the scale (square roots of counts), with the colour scale below. */
export function drawHistogram(canvas, fields, scale, [low, high], table, colours) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.max(1, width * ratio);
  canvas.height = Math.max(1, height * ratio);
  const c = canvas.getContext("2d");
  c.scale(ratio, ratio);
  const counts = new Float64Array(BINS);
  for (const { sample } of fields) {
    for (const value of sample) {
      const bin = Math.floor(scale.forward(value) * BINS);
      if (bin >= 0 && bin < BINS) counts[bin] += 1;
    }
  }
  const max = Math.sqrt(Math.max(...counts)) || 1;
  const bar = 7;
  for (let bin = 0; bin < BINS; bin++) {
    const fraction = ((bin + 0.5) / BINS - low) / (high - low);
    const tall = ((height - bar - 2) * Math.sqrt(counts[bin])) / max;
    c.fillStyle = fraction >= 0 && fraction <= 1 ? colours.text : colours.faint;
    c.globalAlpha = fraction >= 0 && fraction <= 1 ? 0.75 : 0.4;
    c.fillRect((bin * width) / BINS, height - bar - 2 - tall, width / BINS - 0.5, tall);
  }
  c.globalAlpha = 1;
  for (let x = 0; x < width; x++) {
    const fraction = Math.min(Math.max((x / width - low) / (high - low), 0), 1);
    const n = 4 * Math.round(fraction * 255);
    c.fillStyle = `rgb(${table[n]} ${table[n + 1]} ${table[n + 2]})`;
    c.fillRect(x, height - bar, 1.5, bar);
  }
}

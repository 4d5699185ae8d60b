// One plane of voxels in its true shape, with grid lines, resolution rings and the crosshair.
import { dot, indexText, norm, plus, squares, ticks, unit } from "onephonon/geometry";

const MARGIN = { left: 34, right: 12, top: 18, bottom: 24 };
const NAMES = ["h", "k", "l"];
const ZOOM = { min: 1, max: 60, step: 1.3 };

export class SlicePane {
  /**
   * @param {HTMLElement} host  parent of the canvas
   * @param {Geometry} geometry
   * @param {number} axis  the constant index: 0, 1, 2 for h, k, l
   * @param {object} on  point(index, event, dragging), leave(), step(axis, n)
   */
  constructor(host, geometry, axis, on) {
    Object.assign(this, { host, geometry, axis, on });
    [this.u, this.v] = [0, 1, 2].filter((n) => n !== axis);
    this.canvas = host.appendChild(document.createElement("canvas"));
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.image = document.createElement("canvas");
    [this.image.width, this.image.height] = [geometry.shape[this.u], geometry.shape[this.v]];
    const [a, b] = [geometry.edges[this.u], geometry.edges[this.v]];
    const across = unit(a);
    const along = dot(b, across);
    this.up = unit(plus(b, across, -along));
    this.across = across;
    /** Steps of the two indices in the plane, 1/Å: x to the right, y up. */
    this.steps = { ux: norm(a), vx: along, vy: dot(b, this.up) };
    this.view = { zoom: 1, centre: [(this.image.width - 1) / 2, (this.image.height - 1) / 2] };
    this.listen();
  }

  /** Pixel (CSS) of two indices in the plane. */
  toScreen([i, j]) {
    const { scale, x, y } = this.frame;
    const { ux, vx, vy } = this.steps;
    return [x + scale * (ux * i + vx * j), y - scale * vy * j];
  }

  /** Indices in the plane of a pixel (CSS). */
  toPlane([x, y]) {
    const { ux, vx, vy } = this.steps;
    const j = (this.frame.y - y) / (this.frame.scale * vy);
    return [((x - this.frame.x) / this.frame.scale - vx * j) / ux, j];
  }

  /** All three indices of a pixel (CSS); null outside the plane. */
  toIndex(pixel) {
    const [i, j] = this.toPlane(pixel);
    const inside = Math.abs(i + 0.5 - this.image.width / 2) <= this.image.width / 2 &&
      Math.abs(j + 0.5 - this.image.height / 2) <= this.image.height / 2;
    return inside ? this.whole(i, j) : null;
  }

  whole(i, j) {
    const index = [0, 0, 0];
    index[this.u] = i;
    index[this.v] = j;
    index[this.axis] = this.cross?.[this.axis] ?? 0;
    return index;
  }

  /** Compute scale and origin from the size of the canvas and the zoom. */
  place() {
    const { clientWidth: width, clientHeight: height } = this.host;
    const { ux, vx, vy } = this.steps;
    const { width: n, height: m } = this.image;
    const room = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
    const fit = Math.min(room[0] / (ux * n + Math.abs(vx) * m), room[1] / (vy * m));
    const scale = Math.max(fit, 1e-6) * this.view.zoom;
    const [i, j] = this.view.centre;
    this.size = { width, height };
    this.frame = {
      scale,
      x: MARGIN.left + room[0] / 2 - scale * (ux * i + vx * j),
      y: MARGIN.top + room[1] / 2 + scale * vy * j,
    };
  }

  /**
   * @param {object} look  t: values on the scale; table: 256 colours; window: [low, high];
   *   range: [1/d from, to]; cross: indices; colours: of page and axes; rings: 1/d of rings
   */
  draw(look) {
    this.cross = look.cross;
    this.place();
    const { width, height } = this.size;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    const c = this.canvas.getContext("2d");
    c.scale(ratio, ratio);
    this.paint(look);
    c.save();
    c.beginPath();
    c.rect(MARGIN.left, MARGIN.top, width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom);
    c.clip();
    this.outline(c);
    c.fillStyle = hatching(c, look.colours);
    c.fill();
    c.save();
    const [corner, right, up] = [[0, 0], [1, 0], [0, 1]].map((place) => this.toScreen(place));
    const [[x, y], a, b] = [corner, minus(right, corner), minus(up, corner)];
    c.transform(...a, ...b, x, y);
    c.translate(-0.5, -0.5);
    c.imageSmoothingEnabled = Math.min(a[0], -b[1]) * ratio < 1; // fewer pixels than voxels
    c.drawImage(this.image, 0, 0);
    c.restore();
    this.drawRings(c, look);
    this.drawCross(c, look);
    c.restore();
    this.drawTicks(c, look);
    this.canvas.setAttribute("aria-label", `Slice ${this.caption()}; arrow keys move the crosshair`);
  }

  caption() {
    const value = this.geometry.toHkl(this.cross)[this.axis];
    return `${NAMES[this.u]}${NAMES[this.v]} plane, ${NAMES[this.axis]} = ${indexText(value)}`;
  }

  outline(c) {
    const [n, m] = [this.image.width - 0.5, this.image.height - 0.5];
    c.beginPath();
    for (const corner of [[-0.5, -0.5], [n, -0.5], [n, m], [-0.5, m]]) c.lineTo(...this.toScreen(corner));
    c.closePath();
  }

  /** Colours of the voxels: none where data are missing, that of the page outside the range. */
  paint({ t, table, window: [low, high], range, colours }) {
    const { geometry, u, v, axis, cross } = this;
    const { width, height } = this.image;
    const picture = new ImageData(width, height);
    const out = new Uint32Array(picture.data.buffer);
    const inks = new Uint32Array(table.buffer);
    const page = new Uint32Array(Uint8ClampedArray.from([...colours.rgb, 255]).buffer)[0];
    const [near, far] = squares(range);
    const start = plus(geometry.corner, geometry.edges[axis], cross[axis]);
    const [a, b] = [geometry.edges[u], geometry.edges[v]];
    const step = geometry.strides[u];
    for (let j = 0; j < height; j++) {
      const row = plus(start, b, j);
      const [constant, linear, square] = [dot(row, row), 2 * dot(row, a), dot(a, a)];
      let offset = cross[axis] * geometry.strides[axis] + j * geometry.strides[v];
      for (let i = 0; i < width; i++, offset += step) {
        const s2 = constant + i * (linear + i * square);
        const value = t[offset];
        if (s2 < near || s2 > far) out[j * width + i] = page;
        else if (value === value) {
          const fraction = (value - low) / (high - low);
          out[j * width + i] = inks[fraction <= 0 ? 0 : fraction >= 1 ? 255 : Math.round(fraction * 255)];
        }
      }
    }
    this.image.getContext("2d").putImageData(picture, 0, 0);
  }

  drawRings(c, { rings, colours }) {
    const start = plus(this.geometry.corner, this.geometry.edges[this.axis], this.cross[this.axis]);
    const [footX, footY] = [-dot(start, this.across), -dot(start, this.up)];
    const below2 = Math.max(0, dot(start, start) - footX ** 2 - footY ** 2);
    const { scale } = this.frame;
    const [x, y] = [this.frame.x + scale * footX, this.frame.y - scale * footY];
    c.font = `11px ${colours.font}`;
    c.textAlign = "center";
    c.textBaseline = "middle";
    for (const s of rings) {
      if (s * s <= below2) continue;
      const radius = scale * Math.sqrt(s * s - below2);
      c.beginPath();
      c.arc(x, y, radius, 0, 2 * Math.PI);
      haloed(c, colours, 0.8, 0.4);
      const text = `${(1 / s).toPrecision(2)} Å`;
      const at = [x + radius * Math.SQRT1_2, y - radius * Math.SQRT1_2];
      const wide = c.measureText(text).width + 8;
      c.globalAlpha = 0.8;
      c.fillStyle = colours.background;
      c.beginPath();
      c.roundRect(at[0] - wide / 2, at[1] - 8, wide, 15, 5);
      c.fill();
      c.globalAlpha = 1;
      c.fillStyle = colours.text;
      c.fillText(text, ...at);
    }
  }

  drawCross(c, { colours }) {
    const [i, j] = [this.cross[this.u], this.cross[this.v]];
    const { width: n, height: m } = this.image;
    // Each line has the colour of the plane that it represents.
    for (const [from, to, axis] of [[[i, -0.5], [i, m - 0.5], this.u], [[-0.5, j], [n - 0.5, j], this.v]]) {
      for (const [ink, width] of [[colours.background, 3], [colours.axes[axis], 1.5]]) {
        c.beginPath();
        // A gap keeps the voxel itself visible.
        for (const [p, q] of broken(this.toScreen(from), this.toScreen(to), this.toScreen([i, j]))) {
          c.moveTo(...p);
          c.lineTo(...q);
        }
        c.strokeStyle = ink;
        c.lineWidth = width;
        c.stroke();
      }
    }
  }

  drawTicks(c, { colours }) {
    const { width, height } = this.size;
    const box = [MARGIN.left, MARGIN.top, width - MARGIN.right, height - MARGIN.bottom];
    const { width: n, height: m } = this.image;
    c.fillStyle = colours.faint;
    c.strokeStyle = colours.faint;
    c.lineWidth = 1;
    c.font = `11px ${colours.font}`;
    const { ux, vy } = this.steps;
    for (const [axis, count, end, length] of [[this.u, n, m, ux * n], [this.v, m, n, vy * m]]) {
      const flat = axis === this.u;
      const hkl = (place) => this.geometry.origin[axis] + place * this.geometry.step[axis];
      const along = (place, other) => (flat ? [place, other] : [other, place]);
      const marks = ticks(hkl(-0.5), hkl(count - 0.5), Math.min((this.frame.scale * length) / (flat ? 44 : 30), 9 * this.view.zoom));
      c.textAlign = flat ? "center" : "right";
      c.textBaseline = flat ? "top" : "middle";
      for (const mark of marks) {
        const place = (mark - this.geometry.origin[axis]) / this.geometry.step[axis];
        const line = clipped(this.toScreen(along(place, -0.5)), this.toScreen(along(place, end - 0.5)), box);
        if (!line) continue;
        const [x, y] = line[0];
        c.beginPath();
        c.moveTo(x, y);
        c.lineTo(x - (flat ? 0 : 4), y + (flat ? 4 : 0));
        c.stroke();
        c.fillText(indexText(mark), x - (flat ? 0 : 6), y + (flat ? 6 : 0));
      }
    }
    c.font = `italic 600 13px ${colours.font}`;
    c.textAlign = "right";
    c.textBaseline = "bottom";
    c.fillStyle = colours.axes[this.u];
    c.fillText(NAMES[this.u], width - 2, height - MARGIN.bottom + 2);
    c.textAlign = "left";
    c.textBaseline = "top";
    c.fillStyle = colours.axes[this.v];
    c.fillText(NAMES[this.v], MARGIN.left - 16, 2);
  }

  zoomBy(factor, pixel) {
    const before = this.toPlane(pixel ?? [this.size.width / 2, this.size.height / 2]);
    this.view.zoom = Math.min(Math.max(this.view.zoom * factor, ZOOM.min), ZOOM.max);
    if (this.view.zoom === 1) {
      this.view.centre = [(this.image.width - 1) / 2, (this.image.height - 1) / 2];
    } else if (pixel) {
      this.place();
      const after = this.toPlane(pixel);
      this.view.centre = this.view.centre.map((x, n) => x + before[n] - after[n]);
    } else {
      this.view.centre = [this.cross[this.u], this.cross[this.v]];
    }
    this.on.redraw();
  }

  listen() {
    const { canvas } = this;
    const pixel = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      const index = this.toIndex(pixel(event));
      if (index) this.on.point(index, event, true);
    });
    canvas.addEventListener("pointermove", (event) => {
      const dragging = (event.buttons & 1) === 1;
      const index = dragging ? this.whole(...this.toPlane(pixel(event))) : this.toIndex(pixel(event));
      if (index) this.on.point(index, event, dragging);
      else this.on.leave();
    });
    canvas.addEventListener("pointerleave", () => this.on.leave());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const forward = event.deltaY < 0;
      if (event.ctrlKey || event.metaKey) this.zoomBy(forward ? ZOOM.step : 1 / ZOOM.step, pixel(event));
      else this.on.step(this.axis, forward ? 1 : -1);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const far = event.shiftKey ? 10 : 1;
    const moves = {
      ArrowLeft: [this.u, -far], ArrowRight: [this.u, far], ArrowDown: [this.v, -far], ArrowUp: [this.v, far],
      PageUp: [this.axis, far], PageDown: [this.axis, -far],
    };
    const zooms = { "+": ZOOM.step, "=": ZOOM.step, "-": 1 / ZOOM.step, 0: 1e-9 };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) this.on.step(...moves[event.key]);
    else if (event.key in zooms) this.zoomBy(zooms[event.key]);
    else return;
    event.preventDefault();
  }
}

const minus = (p, q) => [p[0] - q[0], p[1] - q[1]];

/** Stroke a line so that it is visible on any colour. */
function haloed(c, colours, width, alpha) {
  c.globalAlpha = alpha;
  c.strokeStyle = colours.background;
  c.lineWidth = width + 2;
  c.stroke();
  c.strokeStyle = colours.text;
  c.lineWidth = width;
  c.stroke();
  c.globalAlpha = 1;
}

const GAP = 7;

/** A line with a gap around one of its points. */
function broken(from, to, at) {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
  const way = [(to[0] - from[0]) / length, (to[1] - from[1]) / length];
  const place = (at[0] - from[0]) * way[0] + (at[1] - from[1]) * way[1];
  const on = (x) => [from[0] + x * way[0], from[1] + x * way[1]];
  return [[from, on(Math.max(0, place - GAP))], [on(Math.min(length, place + GAP)), to]];
}

/** The part of a line inside a box [left, top, right, bottom], or null (Liang and Barsky). */
function clipped([x0, y0], [x1, y1], [left, top, right, bottom]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  let [from, to] = [0, 1];
  for (const [p, q] of [[-dx, x0 - left], [dx, right - x0], [-dy, y0 - top], [dy, bottom - y0]]) {
    if (p === 0 && q < 0) return null;
    if (p < 0) from = Math.max(from, q / p);
    if (p > 0) to = Math.min(to, q / p);
  }
  return from > to ? null : [[x0 + from * dx, y0 + from * dy], [x0 + to * dx, y0 + to * dy]];
}

/** Hatching that marks missing data. */
function hatching(c, colours) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 7;
  const t = tile.getContext("2d");
  t.fillStyle = colours.hatch[0];
  t.fillRect(0, 0, 7, 7);
  t.strokeStyle = colours.hatch[1];
  t.lineWidth = 1.2;
  t.beginPath();
  for (const shift of [-7, 0, 7]) {
    t.moveTo(shift - 1, 8);
    t.lineTo(shift + 8, -1);
  }
  t.stroke();
  return c.createPattern(tile, "repeat");
}

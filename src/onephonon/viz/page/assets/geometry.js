// Coordinates of voxels: indices (i, j, k) of the stored grid, Miller indices, and s = hkl · (a*, b*, c*) in 1/Å.

export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const plus = (a, b, t = 1) => [a[0] + t * b[0], a[1] + t * b[1], a[2] + t * b[2]];
export const cross = (a, b) => [
  a[1] * b[2] - a[2] * b[1],
  a[2] * b[0] - a[0] * b[2],
  a[0] * b[1] - a[1] * b[0],
];
export const norm = (a) => Math.sqrt(dot(a, a));
export const unit = (a) => a.map((x) => x / norm(a));

export class Geometry {
  constructor({ shape, origin, step, axes }) {
    Object.assign(this, { shape, origin, step, axes });
    this.strides = [shape[1] * shape[2], shape[2], 1];
    /** The edges of a voxel, 1/Å. */
    this.edges = axes.map((axis, n) => axis.map((x) => x * step[n]));
    this.corner = this.toS([0, 0, 0]);
  }

  toHkl(index) {
    return index.map((i, axis) => this.origin[axis] + i * this.step[axis]);
  }

  toIndex(hkl) {
    return hkl.map((x, axis) => (x - this.origin[axis]) / this.step[axis]);
  }

  toS(index) {
    const hkl = this.toHkl(index);
    return plus(plus(this.axes[0].map((x) => x * hkl[0]), this.axes[1], hkl[1]), this.axes[2], hkl[2]);
  }

  /** The voxel that contains a point, or the nearest one of the grid. */
  nearest(index) {
    return index.map((i, axis) => Math.min(Math.max(Math.round(i), 0), this.shape[axis] - 1));
  }

  offset(index) {
    return dot(index, this.strides);
  }

  /** Visit every row along l: its first offset and s² = a + b·k + c·k² of its voxels. */
  eachRow(visit) {
    const [n0, n1] = this.shape;
    const along = this.edges[2];
    const c = dot(along, along);
    for (let i = 0, offset = 0; i < n0; i++) {
      for (let j = 0; j < n1; j++, offset += this.shape[2]) {
        const s = plus(plus(this.corner, this.edges[0], i), this.edges[1], j);
        visit(offset, dot(s, s), 2 * dot(s, along), c);
      }
    }
  }
}

/** Bounds of s² for bounds of s; a lower bound of zero includes the origin despite rounding. */
export const squares = ([low, high]) => [low > 0 ? low * low : -1, high * high];

/** Resolution as text: 1/d to "d Å". */
export function resolutionText(s) {
  return s < 1e-9 ? "∞" : `${(1 / s).toPrecision(3)} Å`;
}

/** A number to four digits, with a true minus sign. */
export function numberText(value) {
  if (!Number.isFinite(value)) return "no data";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(3) : String(Number(value.toPrecision(4)));
  return text.replace("e+", "e").replaceAll("-", "−");
}

/** A Miller index: three decimals at most. */
export function indexText(value) {
  return trimmed(value.toFixed(3)).replace(/^-0$/, "0").replace("-", "−");
}

function trimmed(text) {
  return text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text;
}

/** About `count` round numbers in a range. */
export function ticks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((x) => x >= rough) ?? 10 * power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(last - first + 1, 0) }, (_, n) => (first + n) * step);
}

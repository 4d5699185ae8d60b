// Values of the maps: decoding, sampling, agreement.
import { squares } from "onephonon/geometry";

/** Decode the values of a map from the text in the page; NaN is missing. */
export async function unpack(element, coding, size) {
  const packed = octetsOf(element.textContent);
  element.remove(); // free the memory of the text
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const octets = new Uint8Array(await new Response(stream).arrayBuffer());
  const table = decodeTable(coding);
  const values = new Float32Array(size);
  for (let n = 0; n < size; n++) values[n] = table[octets[n] | (octets[size + n] << 8)];
  return values;
}

function octetsOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
}

/** value = width · sinh(low + (code − 1)/65534 · (high − low)); code 0 is missing. */
function decodeTable({ width, low, high }) {
  const table = new Float32Array(65536).fill(NaN);
  for (let code = 1; code < 65536; code++) {
    table[code] = width * Math.sinh(low + ((code - 1) / 65534) * (high - low));
  }
  return table;
}

const SAMPLE = 200_000;

/** A quantity to draw: a value for each voxel, with minimum, maximum and a sorted sample. */
export class Field {
  constructor(name, values) {
    Object.assign(this, { name, values });
    const every = Math.max(1, Math.floor(values.length / SAMPLE));
    const sample = [];
    let min = Infinity;
    let max = -Infinity;
    for (let n = 0; n < values.length; n++) {
      const value = values[n];
      if (Number.isNaN(value)) continue;
      if (value < min) min = value;
      if (value > max) max = value;
      // A hash, since a constant stride could follow one plane of the grid.
      if (every === 1 || Math.imul(n, 2654435761) >>> 0 < 4294967296 / every) sample.push(value);
    }
    if (!sample.length) sample.push(min, max);
    Object.assign(this, { min, max, sample: Float32Array.from(sample).sort() });
    this.scaled = { key: null, t: null };
  }

  /** The values on a scale, computed once for each scale; NaN is missing. */
  on(scale) {
    if (this.scaled.key !== scale.key) {
      const t = new Float32Array(this.values.length);
      for (let n = 0; n < t.length; n++) t[n] = scale.forward(this.values[n]);
      this.scaled = { key: scale.key, t };
    }
    return this.scaled.t;
  }
}

export const times = (values, factor) => (factor === 1 ? values : values.map((x) => x * factor));
export const minus = (a, b) => a.map((x, n) => x - b[n]);

/** The largest 1/d of a voxel that has a value, slightly increased against rounding. */
export function largestS(geometry, values) {
  let max = 0;
  geometry.eachRow((offset, constant, linear, square) => {
    for (let k = 0; k < geometry.shape[2]; k++) {
      const s2 = constant + k * (linear + k * square);
      if (s2 > max && values[offset + k] === values[offset + k]) max = s2;
    }
  });
  return Math.sqrt(max) * 1.0001 || 1;
}

/** Correlation of two maps in a resolution range, and the least-squares scale factor of b to a. */
export function agreement(geometry, a, b, range) {
  const [low, high] = squares(range);
  let [n, sa, sb, aa, bb, ab] = [0, 0, 0, 0, 0, 0];
  geometry.eachRow((offset, constant, linear, square) => {
    for (let k = 0; k < geometry.shape[2]; k++) {
      const s2 = constant + k * (linear + k * square);
      const [x, y] = [a[offset + k], b[offset + k]];
      if (s2 < low || s2 > high || Number.isNaN(x + y)) continue;
      n += 1;
      sa += x;
      sb += y;
      aa += x * x;
      bb += y * y;
      ab += x * y;
    }
  });
  const spread = (n * aa - sa * sa) * (n * bb - sb * sb);
  return { n, cc: (n * ab - sa * sb) / Math.sqrt(spread), factor: ab / bb };
}

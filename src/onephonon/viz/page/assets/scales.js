// Scales that map values to the colour range: linear, logarithmic, or inverse hyperbolic sine.

/** Quantile of a sorted sample. */
export function quantile(sorted, fraction) {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(fraction * (sorted.length - 1))))];
}

/** Whether there are enough negative values for a diverging palette with zero in the middle. */
export function isSigned(fields) {
  return fields.some(({ sample }) => -quantile(sample, 0.01) > 0.02 * Math.abs(quantile(sample, 0.99)));
}

/** Choose a scale: logarithmic if few voxels are far above the rest. */
export function suitable(fields) {
  const heavy = fields.some(({ sample }) => {
    const size = Float32Array.from(sample, Math.abs).sort();
    return quantile(size, 0.995) > 25 * quantile(size, 0.5);
  });
  if (!heavy) return "linear";
  return isSigned(fields) ? "asinh" : "log";
}

/** A scale over the values of fields: forward to [0, 1] (beyond it for outliers) and back. */
export function makeScale(kind, fields) {
  const signed = isSigned(fields);
  const used = kind === "log" && signed ? "asinh" : kind;
  const ends = used === "linear" ? 0.9995 : 1; // a few outliers must not compress a linear scale
  const low = Math.min(...fields.map((f) => (ends === 1 ? f.min : quantile(f.sample, 1 - ends))));
  const high = Math.max(...fields.map((f) => (ends === 1 ? f.max : quantile(f.sample, ends))));
  const [f, back, floor] = functions(used, fields, low, high);
  const extreme = Math.max(Math.abs(f(low)), Math.abs(f(high))) || 1;
  const start = signed ? -extreme : f(Math.max(low, floor));
  const span = (signed ? 2 * extreme : f(high) - start) || 1;
  return {
    kind: used,
    signed,
    key: `${used} ${start} ${span} ${floor}`,
    forward: (value) => (f(value) - start) / span,
    inverse: (t) => back(start + t * span),
  };
}

function functions(kind, fields, low, high) {
  if (kind === "log") {
    // Values below a ten-thousandth of the median are set to it.
    const middle = Math.max(...fields.map((f) => quantile(f.sample, 0.5)), high * 1e-9);
    const floor = Math.max(low, middle * 1e-4, high * 1e-12);
    return [(x) => (Number.isNaN(x) ? NaN : Math.log(Math.max(x, floor))), Math.exp, floor];
  }
  if (kind === "asinh") {
    const sizes = fields.map((f) => quantile(Float32Array.from(f.sample, Math.abs).sort(), 0.5));
    const width = Math.max(...sizes) || Math.max(Math.abs(low), Math.abs(high)) || 1;
    return [(x) => Math.asinh(x / width), (y) => width * Math.sinh(y), -Infinity];
  }
  return [(x) => x, (y) => y, -Infinity];
}

/** Initial colour range and surface level. */
export function firstLook(scale, fields) {
  const t = (fraction, lowest) => {
    const all = fields.map((f) => Math.min(Math.max(scale.forward(quantile(f.sample, fraction)), 0), 1));
    return lowest ? Math.min(...all) : Math.max(...all);
  };
  if (scale.signed) {
    const far = Math.max(t(0.99, false) - 0.5, 0.5 - t(0.01, true), 0.02);
    return { window: [0.5 - far, 0.5 + far], level: 0.8 * far * 2 };
  }
  const window = [t(0.02, true), Math.max(t(0.995, false), t(0.02, true) + 0.02)];
  return { window, level: Math.max(t(0.98, false), 0.02) };
}

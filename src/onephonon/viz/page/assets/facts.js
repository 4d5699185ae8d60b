// Information about the maps as text.
import { indexText, numberText } from "onephonon/geometry";

const by = (list) => list.join(" × ");

/** Fill a description list with names and texts. */
export function describe(list, rows) {
  list.replaceChildren(...rows.flatMap(([name, text]) => [
    Object.assign(document.createElement("dt"), { textContent: name }),
    Object.assign(document.createElement("dd"), { textContent: text }),
  ]));
}

/** Cell and reduction in the heading, the rest under "About". */
export function showFacts(head, geometry) {
  const [a, b, c, ...angles] = head.cell.map((x) => Number(x.toFixed(3)));
  const cell = `${a} × ${b} × ${c} Å, ${angles.join("°, ")}°`;
  document.getElementById("facts").textContent = [head.spacegroup, cell].filter(Boolean).join(" · ");
  if (head.blocks.some((n) => n > 1)) {
    const reduced = document.getElementById("reduced");
    reduced.hidden = false;
    reduced.textContent = `Reduced: each voxel shown is the mean of ${by(head.blocks)} voxels of the full map of ${by(head.fullShape)}.`;
  }
  const axes = ["h", "k", "l"].map((name, axis) => {
    const high = geometry.origin[axis] + (geometry.shape[axis] - 1) * geometry.step[axis];
    return `${name} ${indexText(geometry.origin[axis])} to ${indexText(high)}, ${indexText(1 / geometry.step[axis])} per index`;
  });
  describe(document.querySelector("#about dl"), [
    ["Grid", `${by(geometry.shape)}: ${axes.join("; ")}`],
    ...head.maps.flatMap((map, n) => aboutMap(map, head.maps.length > 1 ? ["First map", "Second map"][n] : "Map")),
    ["Written by", `${head.generator}; 3-D by three.js`],
  ]);
}

function aboutMap(map, title) {
  const error = `${(100 * map.precision).toPrecision(1)} %`;
  return [
    [title, [map.name, map.note].filter(Boolean).join("; ")],
    ["Units", map.units || "unknown"],
    ["Coverage", `${(100 * map.coverage).toPrecision(3)} % of the voxels`],
    ["Precision", `16 bits: ${error} of the value, or of ${numberText(map.width)} if that is larger`],
    ["History", map.history.join("; ") || "unknown"],
  ];
}

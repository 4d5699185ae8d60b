// The page: its state, the controls that change it, and the panels that show it.
import { Field, agreement, largestS, minus, times, unpack } from "onephonon/data";
import { describe, showFacts } from "onephonon/facts";
import { Geometry, indexText, norm, numberText, resolutionText } from "onephonon/geometry";
import { DIVERGING, SEQUENTIAL, colours as paletteOf } from "onephonon/palettes";
import { firstLook, makeScale, suitable } from "onephonon/scales";
import { SlicePane } from "onephonon/slices";
import { SolidPane, makeCamera } from "onephonon/solid";
import { nextTheme, pageColours, themeText } from "onephonon/theme";
import { Choice, Range, drawHistogram } from "onephonon/widgets";

const $ = (id) => document.getElementById(id);
const head = JSON.parse($("head").textContent);
const geometry = new Geometry(head);
const two = head.maps.length === 2;
const MINUS = "−";
const REST = 160; // milliseconds without changes before the fine picture is drawn

const state = {
  show: two ? "both" : "first", // first, second, difference, both
  factor: 1, // on the second map
  picture: "volume", // volume, surface, maximum, slices
  density: 0.5,
  range: [0, 0], // 1/d from and to, 1/Å
  cross: geometry.nearest(initialCross()),
  rings: true,
  planes: true,
  cut: true,
  large: null, // the panel that fills the page
};

/** The origin, or the middle of a grid that does not contain it. */
function initialCross() {
  const origin = geometry.toIndex([0, 0, 0]);
  const inside = origin.every((i, axis) => i > -0.5 && i < geometry.shape[axis] - 0.5);
  return inside ? origin : geometry.shape.map((n) => (n - 1) / 2);
}

/** Scale, window, level and palette: one for the maps, one for their difference. */
const looks = { maps: null, difference: null };
const fields = { first: null, second: null, difference: null };
const values = [];
const panels = {};
const widgets = {};
const camera = makeCamera();
let sMax = 0; // the largest 1/d of a voxel with data

async function start() {
  const size = geometry.shape[0] * geometry.shape[1] * geometry.shape[2];
  for (const [n, map] of head.maps.entries()) values.push(await unpack($(`map-${n}`), map, size));
  sMax = Math.max(...values.map((map) => largestS(geometry, map)));
  state.range[1] = sMax;
  if (two) {
    const [a, b] = head.maps;
    state.factor = a.units && a.units === b.units ? 1 : tidy(agreement(geometry, ...values, state.range).factor);
  }
  makeFields();
  makePanels();
  makeControls();
  showFacts(head, geometry);
  $("message").hidden = true;
  document.querySelector("main").hidden = false;
  new ResizeObserver(() => changed()).observe(document.querySelector("main"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => changed());
  Object.values(panels.solid.panes)[0]?.lookFrom("corner");
  changed({ agreement: true });
}

/** Round a factor to four digits. */
const tidy = (x) => (Number.isFinite(x) && x !== 0 ? Number(x.toPrecision(4)) : 1);

function makeFields() {
  fields.first ??= new Field(head.maps[0].name, values[0]);
  if (!two) return;
  const label = state.factor === 1 ? head.maps[1].name : `${head.maps[1].name} × ${numberText(state.factor)}`;
  fields.second = new Field(label, times(values[1], state.factor));
  fields.difference = null;
  looks.difference = null;
}

function shown() {
  if (state.show === "both") return [fields.first, fields.second];
  return [state.show === "difference" ? difference() : fields[state.show]];
}

function difference() {
  fields.difference ??= new Field("difference", minus(fields.first.values, fields.second.values));
  return fields.difference;
}

/** Fields that determine scale and colours: both maps share one scale, so that they can be compared. */
function basis(which) {
  if (which === "difference") return [difference()];
  return two ? [fields.first, fields.second] : [fields.first];
}

const whichLook = () => (state.show === "difference" ? "difference" : "maps");

function look() {
  const which = whichLook();
  looks[which] ??= newLook(which, suitable(basis(which)));
  return looks[which];
}

function newLook(which, kind, before) {
  const scale = makeScale(kind, basis(which));
  const first = { scale, palette: scale.signed ? DIVERGING[0] : SEQUENTIAL[0], ...firstLook(scale, basis(which)) };
  if (before?.scale.signed !== scale.signed) return first;
  // The same values stay at the ends of the colours.
  const moved = (t) => Math.min(Math.max(scale.forward(before.scale.inverse(t)), 0), 1);
  const window = before.window.map(moved);
  if (!(window[1] - window[0] > 0.005)) return { ...first, palette: before.palette };
  const level = scale.signed ? 2 * moved(0.5 + before.level / 2) - 1 : moved(before.level);
  return { scale, palette: before.palette, window, level };
}

// ---- pictures ------------------------------------------------------------------------------

function makePanels() {
  for (const figure of document.querySelectorAll(".panel")) {
    const name = figure.dataset.panel;
    const row = figure.appendChild(document.createElement("div"));
    row.className = "panes";
    const button = figure.querySelector("figcaption").appendChild(document.createElement("button"));
    Object.assign(button, { type: "button", textContent: "⤢", title: "Enlarge, or show all panels" });
    button.setAttribute("aria-label", "Enlarge this panel, or show all panels");
    button.addEventListener("click", () => enlarge(name));
    row.addEventListener("dblclick", () => enlarge(name));
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") enlarge(name); });
    panels[name] = { figure, row, caption: figure.querySelector("figcaption span"), panes: [] };
  }
  fitPanes();
}

function enlarge(name) {
  state.large = state.large === name ? null : name;
  $("panels").classList.toggle("one", state.large !== null);
  for (const [key, { figure }] of Object.entries(panels)) figure.hidden = state.large !== null && key !== state.large;
  changed();
}

/** Give each panel as many panes as maps are shown. */
function fitPanes() {
  const names = shown().map((field) => field.name);
  for (const [key, panel] of Object.entries(panels)) {
    while (panel.panes.length < names.length) panel.panes.push(newPane(key, panel));
    panel.panes.forEach((pane, n) => {
      pane.host.hidden = n >= names.length;
      pane.title.textContent = two ? names[n] ?? "" : "";
    });
  }
}

function newPane(key, panel) {
  const host = panel.row.appendChild(document.createElement("div"));
  host.className = "pane";
  const on = {
    point: (index, event, dragging = true) => point(index, event, dragging),
    leave: () => { $("tip").hidden = true; },
    step: (axis, n) => stepTo(state.cross.map((i, a) => (a === axis ? i + n : i))),
    moved: () => changed(),
    redraw: () => changed(),
    drawn: () => settled(),
  };
  let pane;
  try {
    pane = key === "solid" ? new SolidPane(host, geometry, camera, sMax, on) : new SlicePane(host, geometry, Number(key), on);
  } catch (error) {
    host.classList.add("note");
    host.textContent = `This browser cannot draw the 3-D view (${error.message}). The slices are not affected.`;
    pane = { host, draw() {}, lookFrom() {} };
  }
  pane.title = host.appendChild(document.createElement("span"));
  pane.title.className = "title";
  return pane;
}

let waiting = false;
let resting = 0;
const dirty = { agreement: false };

/** Something changed: draw a coarse picture now, and a fine one when changes have stopped. */
function changed(what = {}) {
  Object.assign(dirty, what);
  document.body.dataset.state = "drawing";
  clearTimeout(resting);
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw(true);
    clearTimeout(resting);
    resting = setTimeout(() => {
      resting = 0;
      draw(false);
      if (dirty.agreement) updateAgreement();
      settled();
    }, REST);
  });
}

/** Mark the page as ready when nothing is left to draw. */
function settled() {
  if (!resting && !waiting && !panels.solid.panes.some((pane) => pane.busy)) document.body.dataset.state = "ready";
}

function draw(moving) {
  const { scale, window, level, palette } = look();
  const colours = pageColours();
  const table = paletteOf(palette);
  const common = {
    ...state, window, level, table, colours, signed: scale.signed,
    rings: state.rings ? rings() : [], planes: state.planes || state.picture === "slices",
  };
  fitPanes();
  shown().forEach((field, n) => {
    const t = field.on(scale);
    for (const { panes } of Object.values(panels)) {
      if (panes[n].host.clientWidth) panes[n].draw({ ...common, t }, moving);
    }
  });
  for (const axis of [0, 1, 2]) panels[axis].caption.textContent = panels[axis].panes[0].caption();
  drawHistogram($("histogram"), basis(whichLook()), scale, window, table, colours);
  updateControls();
  updateReadout();
}

/** Four rings at even steps of 1/d, at round d. */
function rings() {
  const outer = state.range[1];
  return [0.25, 0.5, 0.75, 1].map((fraction) => (fraction === 1 ? outer : 1 / Number((1 / (fraction * outer)).toPrecision(2))));
}

// ---- pointer and crosshair ----------------------------------------------------------------

function stepTo(index) {
  const cross = geometry.nearest(index);
  if (cross.every((i, axis) => i === state.cross[axis])) return;
  state.cross = cross;
  changed();
}

function point(index, event, dragging) {
  const voxel = geometry.nearest(index);
  if (dragging) stepTo(voxel);
  if (event) showTip(voxel, event);
}

function showTip(voxel, event) {
  const lines = shown().map((field) => `${two ? `${field.name}: ` : ""}${valueText(field, voxel)}`);
  const tip = $("tip");
  tip.replaceChildren(
    Object.assign(document.createElement("b"), { textContent: geometry.toHkl(voxel).map(indexText).join("  ") }),
    ` ${resolutionText(norm(geometry.toS(voxel)))}`,
    ...lines.flatMap((line) => [document.createElement("br"), line]),
  );
  tip.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = tip;
  const left = event.clientX + 16 + width > innerWidth ? event.clientX - 12 - width : event.clientX + 16;
  const top = event.clientY + 16 + height > innerHeight ? event.clientY - 12 - height : event.clientY + 16;
  tip.style.transform = `translate(${Math.max(0, left)}px, ${Math.max(0, top)}px)`;
}

const valueText = (field, voxel) => numberText(field.values[geometry.offset(voxel)]);

// ---- controls ------------------------------------------------------------------------------

function makeControls() {
  if (two) makeCompare();
  widgets.scale = new Choice($("scale"), [["linear", "Linear"], ["log", "Log"], ["asinh", "Asinh", "Inverse hyperbolic sine: linear near zero, logarithmic beyond"]], (kind) => {
    looks[whichLook()] = newLook(whichLook(), kind, look());
    changed();
  });
  widgets.picture = new Choice($("picture"), [["volume", "Volume"], ["surface", "Surface"], ["maximum", "Maximum", "Maximum along each line of sight"], ["slices", "Slices"]], (picture) => {
    state.picture = picture;
    changed();
  });
  widgets.window = new Range($("window"), ["Value of the lowest colour", "Value of the highest colour"], (pair, end) => {
    // Keep zero in the middle of diverging colours.
    const far = Math.max(Math.abs(pair[end] - 0.5), 0.002);
    look().window = look().scale.signed ? [0.5 - far, 0.5 + far] : pair;
    changed();
  });
  widgets.resolution = new Range($("resolution"), ["Lowest resolution", "Highest resolution"], (pair) => {
    state.range = pair.map((x) => x * sMax);
    changed({ agreement: true });
  });
  $("density").addEventListener("input", (event) => { state.density = event.target.valueAsNumber; changed(); });
  $("level").addEventListener("input", (event) => { look().level = event.target.valueAsNumber; changed(); });
  for (const name of ["rings", "planes", "cut"]) {
    $(name).addEventListener("change", (event) => { state[name] = event.target.checked; changed(); });
  }
  $("palette").addEventListener("change", (event) => { look().palette = event.target.value; changed(); });
  for (const button of document.querySelectorAll("[data-look]")) {
    button.addEventListener("click", () => panels.solid.panes[0].lookFrom(button.dataset.look));
  }
  for (const axis of [0, 1, 2]) {
    const input = $(`cross-${axis}`);
    const ends = [0, geometry.shape[axis] - 1].map((i) => geometry.origin[axis] + i * geometry.step[axis]);
    Object.assign(input, { min: ends[0], max: ends[1], step: "any" });
    input.addEventListener("change", () => {
      const hkl = geometry.toHkl(state.cross);
      if (Number.isFinite(input.valueAsNumber)) hkl[axis] = input.valueAsNumber;
      stepTo(geometry.toIndex(hkl));
      changed(); // even without a move, so that the box shows the index of the voxel
    });
    input.addEventListener("keydown", (event) => {
      const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!by) return;
      event.preventDefault(); // move by one voxel, not by one index
      stepTo(state.cross.map((i, a) => (a === axis ? i + by : i)));
    });
  }
  $("theme").addEventListener("click", () => {
    nextTheme();
    changed();
  });
}

function makeCompare() {
  const [a, b] = head.maps.map((map) => map.name);
  $("compare").hidden = false;
  widgets.show = new Choice($("show"), [["both", "Both"], ["first", "First", a], ["second", "Second", b], ["difference", `First ${MINUS} second`, `${a} ${MINUS} ${b}`]], (show) => {
    state.show = show;
    changed();
  });
  $("factor-label").textContent = "Second ×";
  const setFactor = (factor) => {
    state.factor = factor;
    makeFields();
    if (looks.maps) looks.maps = newLook("maps", looks.maps.scale.kind, looks.maps);
    changed({ agreement: true });
  };
  $("factor").addEventListener("change", (event) => {
    const factor = event.target.valueAsNumber;
    if (Number.isFinite(factor) && factor !== 0) setFactor(factor);
    else changed();
  });
  $("fit").addEventListener("click", () => setFactor(tidy(agreement(geometry, ...values, state.range).factor)));
}

// ---- texts ---------------------------------------------------------------------------------

function updateControls() {
  const { scale, window, level, palette } = look();
  widgets.show?.set(state.show);
  if (two && document.activeElement !== $("factor")) $("factor").value = state.factor;
  widgets.scale.set(scale.kind, scale.signed ? ["log"] : []);
  widgets.picture.set(state.picture);
  const ends = window.map((t) => numberText(scale.inverse(t)));
  widgets.window.set(window, ends);
  [$("first-colour").textContent, $("last-colour").textContent] = ends;
  widgets.resolution.set(state.range.map((s) => s / sMax), state.range.map(resolutionText));
  $("resolution-text").textContent = state.range.map(resolutionText).join(" – ");
  $("density").value = state.density;
  $("level").value = level;
  const height = scale.inverse(scale.signed ? 0.5 + level / 2 : level);
  $("level-text").textContent = `${scale.signed ? "±" : ""}${numberText(height)}`;
  $("density-row").hidden = state.picture !== "volume";
  $("level-row").hidden = state.picture !== "surface";
  for (const name of ["rings", "planes", "cut"]) $(name).checked = state[name];
  $("planes").disabled = ["maximum", "slices"].includes(state.picture);
  $("cut").disabled = $("planes").disabled;
  const names = scale.signed ? DIVERGING : SEQUENTIAL;
  if ($("palette").dataset.names !== names.join()) {
    $("palette").replaceChildren(...names.map((name) => new Option(name)));
    $("palette").dataset.names = names.join();
  }
  $("palette").value = palette;
  $("units").textContent = unitsText();
  $("theme").textContent = themeText();
}

const unitsText = () => head.maps[0].units.replaceAll("^2", "²");

function updateReadout() {
  const hkl = geometry.toHkl(state.cross);
  for (const axis of [0, 1, 2]) {
    const input = $(`cross-${axis}`);
    if (document.activeElement !== input || document.body.dataset.state !== "ready") input.value = Number(hkl[axis].toFixed(4));
  }
  const s = norm(geometry.toS(state.cross));
  const rows = [["d", resolutionText(s)], ["1/d", `${s.toFixed(4)}\u00a0/Å`]];
  for (const field of two ? [fields.first, fields.second] : [fields.first]) {
    rows.push([two ? field.name : "Value", valueText(field, state.cross)]);
  }
  if (two) {
    const at = geometry.offset(state.cross);
    rows.push(["Difference", numberText(fields.first.values[at] - fields.second.values[at])]);
  }
  describe($("readout"), rows);
}

function updateAgreement() {
  dirty.agreement = false;
  if (!two) return;
  const { n, cc } = agreement(geometry, ...values, state.range);
  const over = `over ${n.toLocaleString("en")} voxels in the resolution range`;
  $("agreement").textContent = Number.isFinite(cc) ? `Correlation ${numberText(cc)} ${over}` : `No correlation ${over}`;
}

start().catch((error) => {
  document.body.dataset.state = "failed";
  $("message").textContent = `This page cannot be shown: ${error.message}`;
  throw error;
});

/**
 * The overview: what the zoo is, how labels develop with training, and any two labels against each other.
 */

import { byId, chooser, element, fill, labelled, plain, readable } from "explorer/dom";
import { FADED, colourGroups, textColour } from "explorer/colours";
import { axis, draw, onBrush } from "explorer/plots";

/** @typedef {import("explorer/state").State} State */
/** @typedef {import("explorer/dataset").Dataset} Dataset */

/**
 * Write what the zoo is: its properties, and a table of its splits.
 * @param {Dataset} data
 */
export function describeZoo(data) {
  const { head } = data;
  document.title = `${head.name}: explorer`;
  byId("title").textContent = head.name;
  linkDataset(head.dataset);
  const items = Object.entries(head.about).flatMap(([name, value]) => [
    element("dt", {}, name),
    element("dd", {}, String(value)),
  ]);
  fill(byId("about"), ...items);
  const names = Object.keys(head.splits[0] ?? {});
  const rows = head.splits.map((/** @type {Record<string, any>} */ split) =>
    element(
      "tr",
      {},
      ...names.map((name) =>
        element(
          name === "split" ? "th" : "td",
          name === "split" ? { scope: "row" } : {},
          typeof split[name] === "number" ? readable(split[name]) : split[name],
        ),
      ),
    ),
  );
  const top = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
  fill(byId("splits"), element("thead", {}, top), element("tbody", {}, ...rows));
  const left = head.all_rows - head.rows;
  byId("thinned").textContent = left
    ? `The zoo is large: this page shows ${readable(head.rows)} of its ${readable(head.all_rows)} snapshots, every few runs of each split.`
    : "";
}

/**
 * Link to the zoo on the Hub, in a new window: the Hub does not show itself inside the frame that it shows a Space in.
 * @param {string | null} name OWNER/NAME
 */
function linkDataset(name) {
  if (name === null) return;
  const link = byId("dataset");
  link.href = `https://huggingface.co/datasets/${name.split("/").map(encodeURIComponent).join("/")}`;
  link.title = name;
  link.hidden = false;
}

/**
 * Draw a label against the step, a line per run. Brushing selects the runs that pass through the box.
 * @param {State} state
 */
export function buildHistory(state) {
  const { data } = state;
  const node = byId("history");
  let label = data.mainLabel;
  const redraw = () =>
    draw(
      node,
      `${label} against training step, one line per run`,
      historyTraces(state, label),
      historyLayout(data, label),
    );
  fill(
    byId("history-controls"),
    labelled(
      "label",
      chooser(
        data.numbers.map((name) => [name, name]),
        label,
        (name) => {
          label = name;
          redraw();
        },
      ),
    ),
  );
  redraw();
  onBrush(node, (_points, range) => {
    if (range === null) return state.select(null);
    selectInside(state, range, (row) => data.steps.indexOf(data.step[row]), placeOf(data, label));
  });
  state.listen((change) => change !== "step" && change !== "networks" && redraw());
}

/**
 * Where the number of a row is along the axis of its column.
 * @param {Dataset} data
 * @param {string} name
 * @returns {(row: number) => number}
 */
function placeOf(data, name) {
  const { values, scale } = data.column(name);
  return (row) => scale.place(values[row]);
}

/**
 * The axis of a column.
 * @param {Dataset} data
 * @param {string} name
 */
function axisOf(data, name) {
  const { title, scale } = data.column(name);
  return axis(title, scale.ticks);
}

/**
 * @param {Dataset} data
 * @param {(row: number) => boolean | number} condition
 */
function rowsWhere(data, condition) {
  const rows = [];
  for (let row = 0; row < data.rows; row++) if (condition(row)) rows.push(row);
  return rows;
}

/**
 * Select the runs that have a visible row within a box.
 * @param {State} state
 * @param {{x: [number, number], y: [number, number]}} range the box
 * @param {(row: number) => number} across
 * @param {(row: number) => number} up
 */
function selectInside(state, range, across, up) {
  const within = (/** @type {number} */ value, /** @type {[number, number]} */ [low, high]) =>
    value >= low && value <= high;
  const rows = rowsWhere(
    state.data,
    (row) => state.visible[row] && within(across(row), range.x) && within(up(row), range.y),
  );
  state.select(rows.map((row) => state.data.run[row]));
}

/**
 * Lines of runs: those that are not selected first, in grey; then one trace per value of the colouring column.
 * @param {State} state
 * @param {string} label
 */
function historyTraces(state, label) {
  const { data } = state;
  const [column, up] = [data.column(label), placeOf(data, label)];
  const coloured = data.column(data.column(state.colour).kind === "number" ? "split" : state.colour);
  /** @type {Map<string, {x: Array<number | null>, y: Array<number | null>, text: string[], count: number}>} */
  const lines = new Map();
  for (const [run, rows] of data.runs) {
    const shown = rows.filter((row) => state.visible[row]);
    if (shown.length === 0) continue;
    const title = state.isSelected(shown[0]) ? coloured.texts[coloured.values[shown[0]]] : "";
    const line = lines.get(title) ?? { x: [], y: [], text: [], count: 0 };
    // A single snapshot becomes a dash: a line of one point would not be seen.
    const ends = shown.length === 1 ? [-0.08, 0.08] : [0];
    for (const [row, end] of shown.flatMap((own) => ends.map((shift) => /** @type {const} */ ([own, shift])))) {
      line.x.push(data.steps.indexOf(data.step[row]) + end);
      line.y.push(up(row));
      line.text.push(`run ${run}, ${plain(data.column("task").text(row, readable))}: ${readable(column.values[row])}`);
    }
    line.x.push(null);
    line.y.push(null);
    line.text.push("");
    line.count += 1;
    lines.set(title, line);
  }
  const order = ["", ...coloured.texts];
  return [...lines]
    .sort(([a], [b]) => order.indexOf(a) - order.indexOf(b))
    .map(([title, { count, ...line }]) => ({
      ...line,
      mode: "lines",
      name: title === "" ? `not selected (${count})` : `${plain(title)} (${count})`,
      line: { width: 1, color: title === "" ? FADED : textColour(coloured.name, title, coloured.texts) },
      opacity: title === "" || count > 30 ? 0.5 : 0.9,
      hovertemplate: "%{text}<extra></extra>",
    }));
}

/**
 * @param {Dataset} data
 * @param {string} label
 */
function historyLayout(data, label) {
  const ticks = {
    range: [-0.15, data.steps.length - 0.85],
    tickvals: data.steps.map((_, place) => place),
    ticktext: data.steps.map((step) => step.toLocaleString("en")),
  };
  return { xaxis: axis("training step (updates)", ticks), yaxis: axisOf(data, label), dragmode: "select" };
}

/**
 * Draw two labels against each other: how many snapshots have which values, and the selected runs as points.
 * @param {State} state
 */
export function buildLabels(state) {
  const { data } = state;
  const node = byId("labels");
  const numbers = data.numbers;
  let x = numbers.includes("loss") ? "loss" : (numbers[0] ?? "step");
  let y = data.mainLabel;
  const redraw = () =>
    draw(
      node,
      `${y} against ${x}, how many snapshots have which values`,
      labelTraces(state, x, y),
      labelLayout(data, x, y),
    );
  const options = numbers.map((name) => /** @type {[string, string]} */ ([name, name]));
  fill(
    byId("labels-controls"),
    labelled(
      "across",
      chooser(options, x, (name) => {
        x = name;
        redraw();
      }),
    ),
    labelled(
      "up",
      chooser(options, y, (name) => {
        y = name;
        redraw();
      }),
    ),
  );
  redraw();
  onBrush(node, (_points, range) => {
    if (range === null) return state.select(null);
    selectInside(state, range, placeOf(data, x), placeOf(data, y));
  });
  state.listen((change) => change !== "step" && change !== "networks" && redraw());
}

/**
 * @param {State} state
 * @param {string} x
 * @param {string} y
 */
function labelTraces(state, x, y) {
  const { data } = state;
  const [across, up] = [placeOf(data, x), placeOf(data, y)];
  const rows = rowsWhere(data, (row) => state.visible[row]);
  const linear = [x, y].every((name) => data.column(name).scale.ticks.tickvals === undefined);
  const where = linear ? `${plain(x)} %{x}<br>${plain(y)} %{y}<br>` : ""; // else these are logarithms
  const density = {
    type: "histogram2d",
    x: rows.map(across),
    y: rows.map(up),
    nbinsx: 40,
    nbinsy: 40,
    colorscale: [
      [0, "#ffffff"],
      [0.001, "#e3edf7"],
      [0.1, "#8fb8de"],
      [1, "#08306b"],
    ],
    colorbar: { title: { text: "snapshots", side: "right" }, thickness: 12, outlinewidth: 0 },
    hovertemplate: `${where}%{z} snapshots<extra></extra>`,
    showlegend: false,
  };
  const chosen = state.selected === null ? [] : rows.filter((row) => state.isSelected(row));
  const groups = colourGroups(data, data.column(state.colour).kind === "number" ? "split" : state.colour, chosen);
  const points = groups.map((group) => ({
    mode: "markers",
    name: plain(group.title),
    x: group.rows.map(across),
    y: group.rows.map(up),
    text: group.rows.map((row) => [x, y].map((name) => readable(data.column(name).values[row])).join(", ")),
    marker: { ...group.marker, size: 6, line: { width: 0.5, color: "#ffffff" } },
    hovertemplate: "%{text}<extra></extra>",
  }));
  // Points that are always there, because a picture without any cannot be brushed.
  return [density, { mode: "markers", x: [null], y: [null], showlegend: false }, ...points];
}

/**
 * @param {Dataset} data
 * @param {string} x
 * @param {string} y
 */
function labelLayout(data, x, y) {
  return { xaxis: axisOf(data, x), yaxis: axisOf(data, y), dragmode: "select" };
}

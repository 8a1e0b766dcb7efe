/**
 * The family's picture of its tasks: a grid of languages, a wheel of angles, or tasks along one axis.
 */

import { byId, plain, readable } from "explorer/dom";
import { FADED, colourGroups, plotlyScale } from "explorer/colours";
import { axis, draw, onBrush, onClick } from "explorer/plots";

/** @typedef {import("explorer/state").State} State */
/** @typedef {{traces: any[], layout: Record<string, any>}} Picture */

const PER_LINE = 3; // panels of a grid beside each other

/** @type {Record<string, (state: State) => Picture>} */
const PICTURES = { grid, wheel, axis: along };

/**
 * Draw the tasks at the current step, coloured by any column. Clicking or brushing selects runs.
 * @param {State} state
 */
export function buildTasks(state) {
  const node = byId("tasks");
  const { view } = state.data.head;
  const picture = view.axes.every((/** @type {string} */ name) => state.data.columns.has(name)) ? (PICTURES[view.picture] ?? along) : along;
  const redraw = () => {
    const { traces, layout } = picture(state);
    return draw(node, `tasks at step ${state.step}, coloured by ${state.colour}`, traces, layout);
  };
  redraw();
  onClick(node, (runs) => state.select(runs));
  onBrush(node, (points) => state.select(points === null ? null : points.flatMap((point) => point.customdata ?? [])));
  state.listen((change) => change !== "networks" && redraw());
}

/**
 * Panels of cells: the mean of the colouring column over the runs of each task. Other columns than numbers are shown by
 * the main label.
 * @param {State} state
 * @returns {Picture}
 */
function grid(state) {
  const { data } = state;
  const name = data.column(state.colour).kind === "number" ? state.colour : data.mainLabel;
  const { values } = data.column(name);
  const [panel, across, up] = data.head.view.axes.map((/** @type {string} */ column) => data.column(column).values);
  const panels = [...new Set(Array.from(panel))].sort((a, b) => a - b);
  /** @type {Map<string, number[]>} */
  const cells = new Map();
  for (const row of state.rowsAtStep()) {
    const key = `${panel[row]} ${across[row]} ${up[row]}`;
    cells.set(key, [...(cells.get(key) ?? []), row]);
  }
  const shown = [...cells.values()].map((rows) => ({ rows, mean: mean(rows.map((row) => values[row])) }));
  const [offsets, heights] = [across, up].map((own) => [...new Set(Array.from(own))].sort((a, b) => a - b));
  const [wide, high] = [offsets.length + 1, heights.length + 1.6];
  const place = (/** @type {number} */ row) => {
    const at = panels.indexOf(panel[row]);
    const corner = { x: (at % PER_LINE) * wide, y: -Math.floor(at / PER_LINE) * high };
    return { x: corner.x + offsets.indexOf(across[row]), y: corner.y + heights.indexOf(up[row]), corner };
  };
  const trace = {
    mode: "markers",
    x: shown.map(({ rows }) => place(rows[0]).x),
    y: shown.map(({ rows }) => place(rows[0]).y),
    customdata: shown.map(({ rows }) => rows.map((row) => data.run[row])),
    text: shown.map(({ rows, mean: value }) => `${plain(data.column("task").text(rows[0], readable))}: ${plain(name)} ${readable(value)}, ${rows.length} run${rows.length === 1 ? "" : "s"}`),
    hovertemplate: "%{text}<extra></extra>",
    showlegend: false,
    marker: {
      symbol: "square",
      size: 15,
      color: shown.map(({ mean: value }) => value),
      colorscale: plotlyScale,
      showscale: true,
      colorbar: { title: { text: plain(name), side: "right" }, thickness: 12, outlinewidth: 0 },
      line: {
        width: shown.map(({ rows }) => (state.selected !== null && rows.some((row) => state.isSelected(row)) ? 3 : 0)),
        color: "#d62728",
      },
    },
  };
  const [first, second, third] = data.head.view.axes;
  const corners = panels.map((value, at) => ({ value, x: (at % PER_LINE) * wide, y: -Math.floor(at / PER_LINE) * high }));
  const named = (/** @type {number[]} */ starts, /** @type {number[]} */ values) => {
    const ticks = [...new Set(starts)].flatMap((start) => values.map((value, step) => ({ at: start + step, value })));
    return { tickvals: ticks.map(({ at }) => at), ticktext: ticks.map(({ value }) => String(value)), tickangle: 0, tickfont: { size: 10 }, showgrid: false };
  };
  const layout = {
    xaxis: axis(second, named(corners.map(({ x }) => x), offsets)),
    yaxis: axis(third, named(corners.map(({ y }) => y), heights)),
    annotations: corners.map(({ value, x, y }) => ({ x: x - 0.5, y: y + heights.length - 0.3, xanchor: "left", yanchor: "bottom", showarrow: false, text: plain(`${first} = ${value}`) })),
    dragmode: "select",
  };
  return { traces: [trace], layout };
}

/** @param {number[]} values */
function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/**
 * Points of runs in groups of colours; those that are not selected are grey.
 * @param {State} state
 * @param {(rows: number[]) => Record<string, any>} places the coordinates of rows
 */
function points(state, places) {
  const { data } = state;
  const rows = state.rowsAtStep();
  const chosen = rows.filter((row) => state.isSelected(row));
  const others = rows.filter((row) => !state.isSelected(row));
  const groups = [...(others.length ? [{ title: "not selected", rows: others, marker: { color: FADED } }] : []), ...colourGroups(data, state.colour, chosen)];
  return groups.map((group) => ({
    mode: "markers",
    name: plain(group.title),
    showlegend: !("showscale" in group.marker),
    marker: { size: 7, line: { width: 0.5, color: "#ffffff" }, ...group.marker },
    customdata: group.rows.map((row) => [data.run[row]]),
    text: group.rows.map((row) => `run ${data.run[row]}, ${plain(data.column("task").text(row, readable))}`),
    hovertemplate: "%{text}<extra></extra>",
    ...places(group.rows),
  }));
}

/**
 * Runs on a circle by an angle in degrees, their main label as the distance from its centre.
 * @param {State} state
 * @returns {Picture}
 */
function wheel(state) {
  const { data } = state;
  const angle = data.column(data.head.view.axes[0]).values;
  const label = data.column(data.mainLabel);
  const traces = points(state, (rows) => ({ type: "scatterpolar", theta: rows.map((row) => angle[row]), r: rows.map((row) => label.values[row]) }));
  const polar = {
    radialaxis: { gridcolor: "#e6e9ee", angle: 22, tickangle: 0 },
    angularaxis: { gridcolor: "#e6e9ee", thetaunit: "degrees", dtick: 45 },
    bgcolor: "#ffffff",
  };
  const title = { text: `towards the rim: ${plain(label.name)}`, font: { size: 13 }, y: 0.02, yanchor: "bottom" };
  return { traces, layout: { polar, title, legend: { x: 0, y: 1.12, orientation: "h", yanchor: "bottom" }, margin: { l: 40, r: 40, t: 70, b: 50 }, dragmode: "lasso" } };
}

/**
 * Runs along the main column of their tasks, the main label upwards.
 * @param {State} state
 * @returns {Picture}
 */
function along(state) {
  const { data } = state;
  const name = data.columns.has(data.head.view.axes[0]) ? data.head.view.axes[0] : "run";
  const column = data.column(name);
  const label = data.column(data.mainLabel);
  const across = (/** @type {number} */ row) => (column.kind === "number" ? column.values[row] : column.texts[column.values[row]]);
  const traces = points(state, (rows) => ({ x: rows.map(across), y: rows.map((row) => label.values[row]) }));
  return { traces, layout: { xaxis: axis(column.title), yaxis: axis(label.title), dragmode: "select" } };
}

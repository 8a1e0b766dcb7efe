/**
 * The family's picture of its tasks: a grid of languages, a wheel of angles, or tasks along one axis.
 */

import { byId, plain } from "explorer/dom";
import { axis, draw, onBrush, onClick } from "explorer/plots";
import { runPoints } from "explorer/points";
import { taskGrid } from "explorer/task_grid";

/** @typedef {import("explorer/state").State} State */
/** @typedef {{traces: any[], layout: Record<string, any>}} Picture */

/** @type {Record<string, (state: State, node: HTMLElement) => Picture>} */
const PICTURES = { grid: taskGrid, wheel, axis: along };

/**
 * Draw the tasks at the current step, coloured by any column. Clicking or brushing selects runs.
 * @param {State} state
 */
export function buildTasks(state) {
  const node = byId("tasks");
  const { view } = state.data.head;
  const picture = view.axes.every((/** @type {string} */ name) => state.data.columns.has(name))
    ? (PICTURES[view.picture] ?? along)
    : along;
  const redraw = () => {
    const { traces, layout } = picture(state, node);
    return draw(node, `tasks at step ${state.step}, coloured by ${state.colour}`, traces, layout);
  };
  redraw();
  onClick(node, (runs) => state.select(runs));
  onBrush(node, (points) => state.select(points === null ? null : points.flatMap((point) => point.customdata ?? [])));
  state.listen((change) => change !== "networks" && redraw());
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
  const traces = runPoints(state, (rows) => ({
    type: "scatterpolar",
    theta: rows.map((row) => angle[row]),
    r: rows.map((row) => label.values[row]),
  }));
  const polar = {
    radialaxis: { gridcolor: "#e6e9ee", angle: 22, tickangle: 0 },
    angularaxis: { gridcolor: "#e6e9ee", thetaunit: "degrees", dtick: 45 },
    bgcolor: "#ffffff",
  };
  const title = { text: `towards the rim: ${plain(label.name)}`, font: { size: 13 }, y: 0.02, yanchor: "bottom" };
  return {
    traces,
    layout: {
      polar,
      title,
      legend: { x: 0, y: 1.12, orientation: "h", yanchor: "bottom" },
      margin: { l: 40, r: 40, t: 70, b: 50 },
      dragmode: "lasso",
    },
  };
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
  const across = (/** @type {number} */ row) =>
    column.kind === "number" ? column.values[row] : column.texts[column.values[row]];
  const traces = runPoints(state, (rows) => ({ x: rows.map(across), y: rows.map((row) => label.values[row]) }));
  return { traces, layout: { xaxis: axis(column.title), yaxis: axis(label.title), dragmode: "select" } };
}

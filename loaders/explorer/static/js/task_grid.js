/**
 * A grid of tasks with three numbers: panels by the first, columns and rows of cells by the others.
 */

import { plain, readable } from "explorer/dom";
import { numberColours } from "explorer/colours";
import { axis } from "explorer/plots";

/** @typedef {import("explorer/state").State} State */
/**
 * @typedef {object} Frame Where cells are.
 * @property {number[]} panels values of the first number
 * @property {number[]} offsets values of the second, from left to right
 * @property {number[]} heights values of the third, from bottom to top
 * @property {number} perLine panels beside each other
 */

const GAP = 1; // cells between panels
const TITLE = 1.6; // cells above a panel
const MOST_PLACES = 24; // along an axis; more whole numbers are left out where no task has them
const LARGEST = 15; // pixels of a cell
const MARGINS = { x: 170, y: 100 }; // pixels of the picture around the cells

/**
 * The mean of the colouring column over the runs of each task; of the main label if it colours by texts.
 * @param {State} state
 * @param {HTMLElement} node
 */
export function taskGrid(state, node) {
  const { data } = state;
  const name = data.column(state.colour).kind === "number" ? state.colour : data.mainLabel;
  const { values } = data.column(name);
  const frame = frameOf(state, node);
  const cells = cellsOf(state).map((rows) => ({ rows, mean: mean(rows.map((row) => values[row])) }));
  const places = cells.map(({ rows }) => placeOf(state, frame, rows[0]));
  const trace = {
    mode: "markers",
    x: places.map(({ x }) => x),
    y: places.map(({ y }) => y),
    customdata: cells.map(({ rows }) => rows.map((row) => data.run[row])),
    text: cells.map((cell) => cellText(state, name, cell)),
    hovertemplate: "%{text}<extra></extra>",
    showlegend: false,
    marker: {
      symbol: "square",
      size: cellSize(frame, node),
      ...numberColours(
        data.column(name),
        cells.map((cell) => cell.mean),
      ),
      line: { width: cells.map(({ rows }) => (isMarked(state, rows) ? 3 : 0)), color: "#d62728" },
    },
  };
  return { traces: [trace], layout: layoutOf(state, frame) };
}

/**
 * @param {State} state
 * @param {HTMLElement} node
 * @returns {Frame}
 */
function frameOf(state, node) {
  const [panels, offsets, heights] = axesOf(state).map(placesOf);
  return { panels, offsets, heights, perLine: node.clientWidth < 420 ? 2 : 3 };
}

/**
 * The places of a number along its axis: all whole numbers between its values if it has no others, so that cells of
 * tasks without a run stay empty.
 * @param {ArrayLike<number>} values
 */
function placesOf(values) {
  const found = [...new Set(Array.from(values))].sort((a, b) => a - b);
  const span = found[found.length - 1] - found[0] + 1;
  if (span > MOST_PLACES || !found.every(Number.isInteger)) return found;
  return Array.from({ length: span }, (_, place) => found[0] + place);
}

/**
 * The values of the three numbers.
 * @param {State} state
 * @returns {ArrayLike<number>[]}
 */
function axesOf(state) {
  return state.data.head.view.axes.map((/** @type {string} */ name) => state.data.column(name).values);
}

/**
 * Rows at the current step, task by task.
 * @param {State} state
 * @returns {number[][]}
 */
function cellsOf(state) {
  const axes = axesOf(state);
  /** @type {Map<string, number[]>} */
  const cells = new Map();
  for (const row of state.rowsAtStep()) {
    const key = axes.map((values) => values[row]).join(" ");
    cells.set(key, [...(cells.get(key) ?? []), row]);
  }
  return [...cells.values()];
}

/**
 * The lower left cell of a panel.
 * @param {Frame} frame
 * @param {number} panel its place among the panels
 */
function cornerOf(frame, panel) {
  const line = Math.floor(panel / frame.perLine);
  return { x: (panel % frame.perLine) * (frame.offsets.length + GAP), y: -line * (frame.heights.length + TITLE) };
}

/**
 * @param {State} state
 * @param {Frame} frame
 * @param {number} row
 */
function placeOf(state, frame, row) {
  const [panel, across, up] = axesOf(state).map((values) => values[row]);
  const corner = cornerOf(frame, frame.panels.indexOf(panel));
  return { x: corner.x + frame.offsets.indexOf(across), y: corner.y + frame.heights.indexOf(up) };
}

/**
 * Pixels of a cell, so that neighbours do not touch.
 * @param {Frame} frame
 * @param {HTMLElement} node
 */
function cellSize(frame, node) {
  const lines = Math.ceil(frame.panels.length / frame.perLine);
  const wide = (node.clientWidth - MARGINS.x) / (frame.perLine * (frame.offsets.length + GAP));
  const high = (node.clientHeight - MARGINS.y) / (lines * (frame.heights.length + TITLE));
  return Math.max(4, Math.min(LARGEST, Math.floor(wide) - 1, Math.floor(high) - 1));
}

/**
 * @param {State} state
 * @param {string} name
 * @param {{rows: number[], mean: number}} cell
 */
function cellText(state, name, { rows, mean: value }) {
  const task = state.data.column("task").text(rows[0], readable);
  return `${plain(task)}: ${plain(name)} ${readable(value)}, ${rows.length} run${rows.length === 1 ? "" : "s"}`;
}

/**
 * @param {State} state
 * @param {number[]} rows
 */
function isMarked(state, rows) {
  return state.selected !== null && rows.some((row) => state.isSelected(row));
}

/** @param {number[]} values */
function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/**
 * @param {State} state
 * @param {Frame} frame
 */
function layoutOf(state, frame) {
  const [first, second, third] = state.data.head.view.axes;
  const corners = frame.panels.map((value, panel) => ({ value, ...cornerOf(frame, panel) }));
  const annotations = corners.map(({ value, x, y }) => ({
    x: x - 0.5,
    y: y + frame.heights.length - 0.3,
    xanchor: "left",
    yanchor: "bottom",
    showarrow: false,
    text: plain(`${first} = ${value}`),
  }));
  const xaxis = axis(
    second,
    ticks(
      corners.map(({ x }) => x),
      frame.offsets,
    ),
  );
  const yaxis = axis(
    third,
    ticks(
      corners.map(({ y }) => y),
      frame.heights,
    ),
  );
  return { xaxis, yaxis, annotations, dragmode: "select" };
}

/**
 * The values of a number, at every panel.
 * @param {number[]} starts
 * @param {number[]} values
 */
function ticks(starts, values) {
  const found = [...new Set(starts)].flatMap((start) => values.map((value, step) => ({ at: start + step, value })));
  const ticktext = found.map(({ value }) => String(value));
  return { tickvals: found.map(({ at }) => at), ticktext, tickangle: 0, tickfont: { size: 10 }, showgrid: false };
}

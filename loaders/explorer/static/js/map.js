/**
 * The map: networks by numbers that describe them, as points that move along their runs with the step.
 */

import { byId, chooser, element, fill, labelled, plain, readable } from "explorer/dom";
import { arrayAt } from "explorer/dataset";
import { axis, draw, onBrush, onClick } from "explorer/plots";
import { runPoints } from "explorer/points";

/** @typedef {import("explorer/state").State} State */
/** @typedef {import("explorer/dataset").Entry} Entry */
/** @typedef {import("explorer/weights").Weights} Weights */
/** @typedef {{name: string, title: string, size: number, explain: number[], values: Float32Array}} NetworkMap */

const NEIGHBOURS = 8;
const MOST_TRAILS = 20;

/**
 * The maps of a page.
 * @param {Entry | null} entry
 * @returns {NetworkMap[]}
 */
export function readMaps(entry) {
  return (entry?.head.maps ?? []).map((/** @type {any} */ head) => ({
    ...head,
    values: arrayAt(/** @type {Entry} */ (entry).block, head),
  }));
}

/**
 * Distance between two rows of a map.
 * @param {NetworkMap} map
 * @param {number} a
 * @param {number} b
 */
export function distance(map, a, b) {
  let sum = 0;
  for (let k = 0; k < map.size; k++) sum += (map.values[a * map.size + k] - map.values[b * map.size + k]) ** 2;
  return Math.sqrt(sum);
}

/**
 * The rows that are nearest to a row, other runs only, nearest first.
 * @param {NetworkMap} map
 * @param {number} row
 * @param {number[]} rows where to search
 * @param {ArrayLike<number>} run run of every row
 * @param {number} count
 */
export function neighbours(map, row, rows, run, count) {
  return rows
    .filter((other) => run[other] !== run[row])
    .map((other) => ({ row: other, distance: distance(map, row, other) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, count);
}

/**
 * Draw the map and the neighbours of the network that is looked at.
 * @param {State} state
 * @param {NetworkMap[]} maps
 * @param {Weights} weights
 */
export function buildMap(state, maps, weights) {
  if (maps.length === 0) {
    byId("map-section").hidden = true;
    return;
  }
  const node = byId("map");
  const wanted = new URLSearchParams(location.hash.slice(1)).get("map");
  let map = maps.find((own) => own.name === wanted) ?? maps[0];
  const redraw = () => {
    draw(node, `map of networks by ${map.title}, at step ${state.step}`, mapTraces(state, map), mapLayout(state, map));
    showNeighbours(state, map, weights);
  };
  const options = maps.map((own) => /** @type {[string, string]} */ ([own.name, own.title]));
  const choice = chooser(options, map.name, (name) => {
    map = maps.find((own) => own.name === name) ?? map;
    redraw();
  });
  choice.id = "map-choice";
  fill(byId("map-controls"), labelled("networks by", choice));
  redraw();
  onClick(node, ([run, step]) => state.look(0, { run, step }));
  onBrush(node, (points) => state.select(points === null ? null : points.map((point) => point.customdata[0])));
  // A network that is looked at is shown first, then where it is on the map.
  state.listen((change) => (change === "networks" ? setTimeout(redraw, 0) : redraw()));
}

/**
 * @param {State} state
 * @param {NetworkMap} map
 */
function mapTraces(state, map) {
  const { data } = state;
  const [x, y] = [0, 1].map((k) => (/** @type {number} */ row) => map.values[row * map.size + k]);
  const points = runPoints(state, (rows) => ({
    x: rows.map(x),
    y: rows.map(y),
    customdata: rows.map((row) => [data.run[row], data.step[row]]),
    text: rows.map(
      (row) =>
        `run ${data.run[row]}, step ${readable(data.step[row])}, ${plain(data.column("task").text(row, readable))}`,
    ),
  }));
  return [...trails(state, x, y), ...points, ...markedNetworks(state, x, y)];
}

/**
 * The ways of selected runs up to the step, if they are few.
 * @param {State} state
 * @param {(row: number) => number} x
 * @param {(row: number) => number} y
 */
function trails(state, x, y) {
  const looked = state.networks.flatMap((own) => (own === null ? [] : [own.run]));
  const runs = [
    ...new Set([...(state.selected !== null && state.selected.size <= MOST_TRAILS ? state.selected : []), ...looked]),
  ];
  const rows = runs.flatMap((run) => [
    ...(state.data.runs.get(run) ?? []).filter((row) => state.data.step[row] <= state.step),
    -1,
  ]);
  const line = { width: 1, color: "#5b6673" };
  return [
    {
      mode: "lines",
      x: rows.map((row) => (row < 0 ? null : x(row))),
      y: rows.map((row) => (row < 0 ? null : y(row))),
      line,
      hoverinfo: "skip",
      showlegend: false,
    },
  ];
}

/**
 * Rings around the networks that are looked at, A and B.
 * @param {State} state
 * @param {(row: number) => number} x
 * @param {(row: number) => number} y
 */
function markedNetworks(state, x, y) {
  const rows = state.networks.map((own) => (own === null ? null : state.data.rowAt(own.run, state.step)));
  const marked = rows.flatMap((row, place) => (row === null ? [] : [{ row, name: "AB"[place] }]));
  return [
    {
      mode: "markers+text",
      x: marked.map(({ row }) => x(row)),
      y: marked.map(({ row }) => y(row)),
      text: marked.map(({ name }) => `<b>${name}</b>`),
      textposition: "top right",
      marker: { size: 13, color: "rgba(0,0,0,0)", line: { width: 2.5, color: "#111111" } },
      hoverinfo: "skip",
      showlegend: false,
    },
  ];
}

/**
 * Axes that hold the points, not the ways that led to them.
 * @param {State} state
 * @param {NetworkMap} map
 */
function mapLayout(state, map) {
  const titles = [0, 1].map((k) => `component ${k + 1} (${Math.round(100 * (map.explain[k] ?? 0))}% of the variance)`);
  const rows = state.rowsAtStep();
  const [xaxis, yaxis] = titles.map((title, k) => {
    const values = rows.map((row) => map.values[row * map.size + k]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = 0.06 * (high - low) || 1;
    return axis(title, rows.length ? { range: [low - margin, high + margin] } : {});
  });
  return { xaxis, yaxis, dragmode: "lasso" };
}

/**
 * List the networks nearest to network A at the current step, each with a button that looks at it as B.
 * @param {State} state
 * @param {NetworkMap} map
 * @param {Weights} weights
 */
function showNeighbours(state, map, weights) {
  const { data } = state;
  const looked = state.networks[0];
  const row = looked === null ? null : data.rowAt(looked.run, state.step);
  if (looked === null || row === null) {
    fill(byId("neighbours"), element("li", {}, "Choose network A: click a point, or give its run below."));
    return;
  }
  const found = neighbours(map, row, state.rowsAtStep(), data.run, NEIGHBOURS);
  byId("neighbours-of").textContent = `Nearest to run ${looked.run} at step ${readable(data.step[row])}`;
  const items = found.map(({ row: other, distance: far }) => {
    const look = () => state.look(1, { run: data.run[other], step: data.step[other] });
    const button = element("button", { type: "button", on: { click: look } }, `run ${data.run[other]}`);
    const live = weights.has(other) ? " (live)" : "";
    return element("li", {}, button, ` ${data.column("task").text(other, readable)}${live}, distance ${readable(far)}`);
  });
  fill(byId("neighbours"), ...items);
}

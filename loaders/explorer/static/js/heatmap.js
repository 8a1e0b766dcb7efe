/**
 * Heat maps on a canvas: fast enough to be drawn again at every key that is pressed, and readable by keyboard.
 */

import { element, readable } from "explorer/dom";
import { css, diverging, sequential } from "explorer/colours";

/**
 * @typedef {object} Heatmap
 * @property {string} title
 * @property {ArrayLike<number>} values row-major
 * @property {number} rows
 * @property {number} columns
 * @property {number} [limit] values from -limit (blue) to limit (red); without it values are from 0 to 1
 * @property {number} [width] of a cell, in pixels
 * @property {number} [height] of a cell, in pixels
 * @property {(row: number) => string} [rowName]
 * @property {(column: number) => string} [columnName]
 * @property {string[]} [across] texts below the columns
 * @property {string[]} [down] texts left of the rows
 * @property {boolean} [sharesScale] its scale is shown elsewhere, once for several maps
 */

/**
 * A heat map with its title, its scale, and the value of the cell under the mouse or the keyboard's cursor.
 * @param {Heatmap} map
 * @returns {HTMLElement}
 */
export function heatmap(map) {
  const [width, height] = [map.width ?? 6, map.height ?? 6];
  const canvas = element("canvas", {
    width: map.columns * width,
    height: map.rows * height,
    tabIndex: 0,
    role: "img",
    "aria-label": `${map.title}, ${map.rows} rows and ${map.columns} columns. Arrow keys read single values.`,
  });
  paint(canvas, map, width, height);
  const reading = element("output", { class: "reading" }, "\u00a0");
  const state = { row: 0, column: 0 };
  const read = (/** @type {number} */ row, /** @type {number} */ column) => {
    state.row = Math.min(map.rows - 1, Math.max(0, row));
    state.column = Math.min(map.columns - 1, Math.max(0, column));
    const value = map.values[state.row * map.columns + state.column];
    reading.textContent = `${map.rowName?.(state.row) ?? `row ${state.row}`}, ${map.columnName?.(state.column) ?? `column ${state.column}`}: ${readable(value)}`;
  };
  canvas.addEventListener("mousemove", (/** @type {MouseEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    read(
      Math.floor(((event.clientY - box.top) / box.height) * map.rows),
      Math.floor(((event.clientX - box.left) / box.width) * map.columns),
    );
  });
  canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    read(state.row + move[0], state.column + move[1]);
  });
  canvas.addEventListener("focus", () => read(state.row, state.column));
  return element(
    "figure",
    { class: "heatmap" },
    element("figcaption", {}, map.title, map.sharesScale ? null : scaleLegend(map.limit)),
    body(map, canvas, width, height),
    reading,
  );
}

/**
 * The canvas with the texts beside it.
 * @param {Heatmap} map
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 */
function body(map, canvas, width, height) {
  const across =
    map.across === undefined
      ? null
      : element(
          "div",
          { class: "across" },
          ...map.across.map((text) => element("span", { style: `width:${width}px` }, text)),
        );
  const down =
    map.down === undefined
      ? null
      : element(
          "div",
          { class: "down" },
          ...map.down.map((text) => element("span", { style: `height:${height}px;line-height:${height}px` }, text)),
        );
  return element(
    "div",
    { class: "scroll" },
    element("div", { class: "grid" }, down, element("div", {}, canvas, across)),
  );
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Heatmap} map
 * @param {number} width
 * @param {number} height
 */
function paint(canvas, map, width, height) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  for (let row = 0; row < map.rows; row++) {
    for (let column = 0; column < map.columns; column++) {
      const value = map.values[row * map.columns + column];
      context.fillStyle = css(map.limit === undefined ? sequential(value) : diverging(value / (map.limit || 1)));
      context.fillRect(column * width, row * height, width, height);
    }
  }
}

/**
 * The scale of a heat map.
 * @param {number} [limit] as of a `Heatmap`
 */
export function scaleLegend(limit) {
  const places = Array.from({ length: 11 }, (_, stop) => stop / 10);
  const colour = (/** @type {number} */ place) => (limit === undefined ? sequential(place) : diverging(2 * place - 1));
  const stops = places.map((place) => css(colour(place))).join(",");
  return element(
    "span",
    { class: "scale" },
    readable(limit === undefined ? 0 : -limit),
    element("span", { class: "bar", style: `background:linear-gradient(90deg,${stops})` }),
    readable(limit ?? 1),
  );
}

/**
 * Values of N units (or classes) at T steps, turned so that a row is a unit.
 * @param {Float32Array} values [T * N]
 * @param {number} units N
 * @returns {Float32Array} [N * T]
 */
export function byUnit(values, units) {
  const steps = values.length / units;
  const turned = new Float32Array(values.length);
  for (let t = 0; t < steps; t++)
    for (let unit = 0; unit < units; unit++) turned[unit * steps + t] = values[t * units + unit];
  return turned;
}

/**
 * Heat maps of the hidden units of every layer over time.
 * @param {Float32Array[]} hidden [T * H] per layer
 * @param {number} units H
 * @param {string[]} read what is read at every step
 * @param {number} width of a step, in pixels
 * @returns {HTMLElement[]}
 */
export function hiddenHeatmaps(hidden, units, read, width) {
  return hidden.map((values, layer) => {
    const steps = values.length / units;
    return heatmap({
      title: `hidden units of layer ${layer + 1} over time`,
      values: byUnit(values, units),
      rows: units,
      columns: steps,
      limit: 1,
      width,
      height: units > 40 ? 4 : 6,
      rowName: (unit) => `unit ${unit}`,
      columnName: (t) => `step ${t + 1}, reads ${read[t] ?? ""}`,
    });
  });
}

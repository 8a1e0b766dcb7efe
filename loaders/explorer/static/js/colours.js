/**
 * Colours: of splits, of numbers on a scale from dark to bright, and around zero from blue to red.
 */

import { plain } from "explorer/dom";

/** Of the splits, as in the project's figures; distinguishable with colour blindness. */
export const SPLITS = /** @type {Record<string, string>} */ ({
  train: "#4477aa",
  validation: "#ccbb44",
  test: "#228833",
  ood: "#ee6677",
});
const OTHERS = [
  "#4477aa",
  "#ee6677",
  "#228833",
  "#ccbb44",
  "#66ccee",
  "#aa3377",
  "#777777",
  "#ee7733",
  "#0077bb",
  "#882255",
];
export const FADED = "#d9dde3";

const VIRIDIS = [
  [68, 1, 84],
  [72, 40, 120],
  [62, 74, 137],
  [49, 104, 142],
  [38, 130, 142],
  [31, 158, 137],
  [53, 183, 121],
  [110, 206, 88],
  [181, 222, 43],
  [253, 231, 37],
];
const DIVERGING = [
  [5, 48, 97],
  [33, 102, 172],
  [67, 147, 195],
  [146, 197, 222],
  [209, 229, 240],
  [247, 247, 247],
  [253, 219, 199],
  [244, 165, 130],
  [214, 96, 77],
  [178, 24, 43],
  [103, 0, 31],
];

/**
 * @param {number[][]} scale
 * @param {number} place from 0 to 1
 * @returns {[number, number, number]}
 */
function along(scale, place) {
  const at = Math.min(1, Math.max(0, place)) * (scale.length - 1);
  const below = Math.min(scale.length - 2, Math.floor(at));
  const [from, to] = [scale[below], scale[below + 1]];
  return /** @type {[number, number, number]} */ (
    from.map((value, channel) => Math.round(value + (to[channel] - value) * (at - below)))
  );
}

/** @param {number} place from 0 to 1 @returns {[number, number, number]} red, green, blue */
export const sequential = (place) => along(VIRIDIS, place);

/** @param {number} value from -1 (blue) over 0 (white) to 1 (red) @returns {[number, number, number]} */
export const diverging = (value) => along(DIVERGING, (value + 1) / 2);

/** @param {[number, number, number]} colour */
export const css = (colour) => `rgb(${colour.join(",")})`;

/** The sequential scale as plotly takes it. */
const plotlyScale = VIRIDIS.map((colour, place) => [place / (VIRIDIS.length - 1), css(/** @type {any} */ (colour))]);

/**
 * The colour of one text among those of a column.
 * @param {string} column
 * @param {string} text
 * @param {string[]} texts
 */
export function textColour(column, text, texts) {
  return column === "split" && SPLITS[text] ? SPLITS[text] : OTHERS[Math.max(0, texts.indexOf(text)) % OTHERS.length];
}

/** Columns of texts with more values than this are no use as colours. */
export const MOST_TEXTS = 24;

/**
 * How points with numbers of a column are coloured, with a colour bar. A colour means the same at every step, and for
 * every selection.
 * @param {import("explorer/dataset").Column} column
 * @param {number[]} values
 * @returns {Record<string, any>}
 */
export function numberColours(column, values) {
  const { place, ends, ticks } = column.scale;
  return {
    color: values.map(place),
    cmin: ends[0],
    cmax: ends[1],
    colorscale: plotlyScale,
    showscale: true,
    colorbar: { title: { text: plain(column.name), side: "right" }, thickness: 12, outlinewidth: 0, ...ticks },
  };
}

/**
 * Groups of rows by the column that colours pictures: one per text, or one with a colour bar for numbers.
 * @param {import("explorer/dataset").Dataset} data
 * @param {string} name
 * @param {number[]} rows
 * @returns {Array<{title: string, rows: number[], marker: Record<string, any>}>}
 */
export function colourGroups(data, name, rows) {
  const column = data.column(name);
  if (column.kind === "number") {
    const marker = numberColours(
      column,
      rows.map((row) => column.values[row]),
    );
    return [{ title: column.name, rows, marker }];
  }
  return column.texts
    .map((text, code) => ({
      title: text,
      rows: rows.filter((row) => column.values[row] === code),
      marker: { color: textColour(name, text, column.texts) },
    }))
    .filter((group) => group.rows.length > 0);
}

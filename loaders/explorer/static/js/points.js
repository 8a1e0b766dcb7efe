/**
 * Runs at the current step as points, coloured alike in all pictures; those that are not selected are grey.
 */

import { plain, readable } from "explorer/dom";
import { FADED, colourGroups } from "explorer/colours";

/** @typedef {import("explorer/state").State} State */

/**
 * One trace of points per colour, the points that are not selected first.
 * @param {State} state
 * @param {(rows: number[]) => Record<string, any>} places the coordinates of rows; what else it has takes precedence
 */
export function runPoints(state, places) {
  const { data } = state;
  const rows = state.rowsAtStep();
  const chosen = rows.filter((row) => state.isSelected(row));
  const others = rows.filter((row) => !state.isSelected(row));
  const groups = [
    ...(others.length ? [{ title: "not selected", rows: others, marker: { color: FADED } }] : []),
    ...colourGroups(data, state.colour, chosen),
  ];
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

/**
 * Pictures drawn by plotly, all with the same look, and what a user selects in them.
 */

import { plain } from "explorer/dom";

/** @type {any} */
const Plotly = /** @type {any} */ (globalThis).Plotly;

const LAYOUT = {
  font: { family: "system-ui, sans-serif", size: 13, color: "#1c2733" },
  margin: { l: 60, r: 16, t: 34, b: 52 },
  paper_bgcolor: "rgba(0,0,0,0)",
  plot_bgcolor: "#ffffff",
  hovermode: "closest",
  showlegend: true,
  legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
  modebar: { bgcolor: "rgba(0,0,0,0)", color: "#7b8794", activecolor: "#1f5f99" },
};
const NARROW = 420; // pixels; there the buttons would cover the legend
const AXIS = {
  gridcolor: "#e6e9ee",
  zeroline: false,
  linecolor: "#8a94a0",
  ticks: "outside",
  tickcolor: "#8a94a0",
  automargin: true,
};

/**
 * An axis with a title.
 * @param {string} title
 * @param {Record<string, any>} [options]
 */
export function axis(title, options = {}) {
  return { ...AXIS, title: { text: plain(title) }, ...options };
}

/**
 * Draw a picture, or draw it again.
 * @param {HTMLElement} node
 * @param {string} label what it shows, for those who do not see it
 * @param {any[]} traces
 * @param {Record<string, any>} layout
 */
export function draw(node, label, traces, layout) {
  node.setAttribute("role", "figure"); // not an image: it has buttons
  node.setAttribute("aria-label", label);
  const buttons = layout.polar
    ? ["lasso2d"]
    : ["zoom2d", layout.dragmode === "lasso" ? "lasso2d" : "select2d", "resetScale2d"];
  const options = {
    responsive: true,
    displaylogo: false,
    displayModeBar: layout.dragmode !== false && node.clientWidth > NARROW,
    modeBarButtons: [buttons],
  };
  // What was brushed is highlighted by colours; the outline of the brush goes away.
  return Plotly.react(node, traces, { ...LAYOUT, selections: [], ...layout }, options);
}

/**
 * Call a function with what a user selects by brushing, or with null when the selection is cleared.
 * @param {any} node a picture that was drawn
 * @param {(points: any[] | null, range: {x: [number, number], y: [number, number]} | null) => void} selected
 */
export function onBrush(node, selected) {
  node.on("plotly_selected", (/** @type {any} */ event) => {
    // Drawing again also sends this event, without what the user has drawn.
    if (event?.range || event?.lassoPoints) selected(event.points, event.range ?? null);
  });
  node.on("plotly_deselect", () => selected(null, null));
}

/**
 * Call a function with the `customdata` of the point that is clicked.
 * @param {any} node a picture that was drawn
 * @param {(customdata: any) => void} clicked
 */
export function onClick(node, clicked) {
  node.on("plotly_click", (/** @type {any} */ event) => {
    const data = event.points[0]?.customdata;
    if (data !== undefined && data !== null) clicked(data);
  });
}

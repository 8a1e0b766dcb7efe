/**
 * The graph of an automaton: its states on a circle, its transitions as arrows.
 */

const SIZE = 340;
const RADIUS = 130;
const STATE = 13;
const SVG = "http://www.w3.org/2000/svg";

/** @typedef {import("explorer/automata").Automaton} Automaton */
/** @typedef {{x: number, y: number}} Point */

/**
 * An SVG element.
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children
 */
function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/**
 * Draw an automaton, with one state marked.
 * @param {number[][]} transitions [states][symbols] -> next state
 * @param {boolean[]} accepting [states]
 * @param {number} current the marked state
 * @returns {SVGElement}
 */
export function automatonGraph(transitions, accepting, current) {
  const count = transitions.length;
  const places = transitions.map((_, state) => {
    const angle = (2 * Math.PI * state) / count - Math.PI / 2;
    return { x: SIZE / 2 + RADIUS * Math.cos(angle), y: SIZE / 2 + RADIUS * Math.sin(angle) };
  });
  /** @type {Map<string, {from: number, to: number, symbols: number[]}>} */
  const arrows = new Map();
  transitions.forEach((row, from) =>
    row.forEach((to, symbol) => {
      const arrow = arrows.get(`${from} ${to}`) ?? { from, to, symbols: [] };
      arrow.symbols.push(symbol);
      arrows.set(`${from} ${to}`, arrow);
    }),
  );
  const label = `automaton with ${count} states, of which ${accepting.filter(Boolean).length} accept; it is in state ${current}`;
  return /** @type {SVGElement} */ (
    svg(
      "svg",
      { viewBox: `0 0 ${SIZE} ${SIZE}`, class: "automaton", role: "img", "aria-label": label },
      svg(
        "defs",
        {},
        svg(
          "marker",
          { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto" },
          svg("path", { d: "M0 0L8 4L0 8z", fill: "#5b6673" }),
        ),
      ),
      ...[...arrows.values()].map((arrow) => drawArrow(places, arrow)),
      ...places.map((place, state) => drawState(place, state, accepting[state], state === current)),
    )
  );
}

/**
 * @param {Point[]} places
 * @param {{from: number, to: number, symbols: number[]}} arrow
 */
function drawArrow(places, { from, to, symbols }) {
  const [a, b] = [places[from], places[to]];
  const text = (/** @type {Point} */ at) => svg("text", { x: at.x, y: at.y, class: "symbol" }, symbols.join(","));
  if (from === to) {
    const out = { x: (a.x - SIZE / 2) / RADIUS, y: (a.y - SIZE / 2) / RADIUS };
    const side = { x: -out.y, y: out.x };
    const ends = [-1, 1].map((way) => ({
      x: a.x + STATE * (0.8 * out.x + 0.6 * way * side.x),
      y: a.y + STATE * (0.8 * out.y + 0.6 * way * side.y),
    }));
    const bend = [-1, 1].map((way) => ({
      x: a.x + 34 * out.x + way * 14 * side.x,
      y: a.y + 34 * out.y + way * 14 * side.y,
    }));
    const d = `M${ends[0].x} ${ends[0].y}C${bend[0].x} ${bend[0].y} ${bend[1].x} ${bend[1].y} ${ends[1].x} ${ends[1].y}`;
    return svg(
      "g",
      {},
      svg("path", { d, class: "arrow", "marker-end": "url(#arrow)" }),
      text({ x: a.x + 33 * out.x, y: a.y + 33 * out.y }),
    );
  }
  const length = Math.hypot(b.x - a.x, b.y - a.y);
  const way = { x: (b.x - a.x) / length, y: (b.y - a.y) / length };
  // Bent to its right, so that the way back is another line.
  const bend = { x: (a.x + b.x) / 2 - 0.12 * length * way.y, y: (a.y + b.y) / 2 + 0.12 * length * way.x };
  const start = towards(a, bend);
  const end = towards(b, bend);
  const d = `M${start.x} ${start.y}Q${bend.x} ${bend.y} ${end.x} ${end.y}`;
  const at = { x: 0.25 * start.x + 0.5 * bend.x + 0.25 * end.x, y: 0.25 * start.y + 0.5 * bend.y + 0.25 * end.y };
  return svg("g", {}, svg("path", { d, class: "arrow", "marker-end": "url(#arrow)" }), text(at));
}

/**
 * The point on the edge of a state, towards another point.
 * @param {Point} state
 * @param {Point} other
 */
function towards(state, other) {
  const length = Math.hypot(other.x - state.x, other.y - state.y);
  return {
    x: state.x + ((STATE + 1) * (other.x - state.x)) / length,
    y: state.y + ((STATE + 1) * (other.y - state.y)) / length,
  };
}

/**
 * @param {Point} place
 * @param {number} state
 * @param {boolean} accepts
 * @param {boolean} current
 */
function drawState(place, state, accepts, current) {
  const outer = svg("circle", { cx: place.x, cy: place.y, r: STATE, class: current ? "state current" : "state" });
  const inner = accepts ? [svg("circle", { cx: place.x, cy: place.y, r: STATE - 3.5, class: "inner" })] : [];
  return svg(
    "g",
    {},
    outer,
    ...inner,
    svg("text", { x: place.x, y: place.y, class: current ? "name current" : "name" }, String(state)),
  );
}

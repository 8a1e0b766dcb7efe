/**
 * The leaderboard's page: a table of results that can be sorted, and curves of the loss.
 */

import { byId, element, fill, plain } from "explorer/dom";
import { readEntry } from "explorer/dataset";
import { axis, draw } from "explorer/plots";

/**
 * @typedef {[number, number | null, number | null]} Cell value and bounds of its interval
 * @typedef {{name: string, kind: string, access: string, seeds: number, cells: Record<string, Cell>, curve: Record<string, number[]>, map: string | null}} Row
 * @typedef {{key: string, title: string, lower: boolean, digits: number}} BoardColumn
 */

/** More colours cannot be told apart; further encoders have them again with other dashes and symbols. */
const COLOURS = ["#4477aa", "#ee6677", "#228833", "#aa3377", "#b8860b", "#33a1c9", "#222222"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const SYMBOLS = ["circle", "diamond", "triangle-up", "x"];
const REFERENCE_COLOURS = ["#777777", "#999999", "#bbbbbb"];

/** Losses are shown on a logarithmic scale. */
const LOSS_TICKS = [1, 2, 3, 5, 7].flatMap((digit) =>
  [1e-4, 1e-3, 1e-2, 0.1].map((size) => Number((digit * size).toFixed(6))),
);
const LOSS_AXIS = { type: "log", tickvals: LOSS_TICKS, ticktext: LOSS_TICKS.map(String) };

/** What the table shows and how it is sorted. */
class Board {
  /**
   * @param {{zoo: string, columns: BoardColumn[], rows: Row[], notes: string[]}} head
   */
  constructor(head) {
    this.columns = head.columns;
    this.rows = head.rows;
    this.sorted = "test";
    this.descending = false;
    this.kinds = new Set(head.rows.map((row) => row.kind));
    byId("title").textContent = `Leaderboard: ${head.zoo}`;
    document.title = `Leaderboard: ${head.zoo}`;
    fill(byId("notes"), ...head.notes.map((note) => element("p", { class: "note" }, note)));
    fill(byId("kinds"), ...[...this.kinds].map((kind) => this.#tick(kind)));
    this.show();
  }

  /** @param {string} kind */
  #tick(kind) {
    const box = element("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      if (box.checked) this.kinds.add(kind);
      else this.kinds.delete(kind);
      this.show();
    });
    return element("label", { class: "tick" }, box, `${kind}s`);
  }

  /** Rows in their order; those without a value come last. */
  get order() {
    const sign = this.descending ? -1 : 1;
    const value = (/** @type {Row} */ row) => row.cells[this.sorted]?.[0] ?? null;
    return this.rows
      .filter((row) => this.kinds.has(row.kind))
      .sort((a, b) => {
        if (this.sorted === "name") return sign * a.name.localeCompare(b.name);
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return Number(x === null) - Number(y === null);
        return sign * (x - y);
      });
  }

  show() {
    const headers = [{ key: "name", title: "encoder", lower: true }, ...this.columns].map((column) =>
      this.#header(column),
    );
    const rows = this.order.map((row) =>
      element(
        "tr",
        { class: row.kind },
        nameCell(row),
        ...this.columns.map((column) => element("td", {}, cellText(row.cells[column.key], column.digits))),
      ),
    );
    fill(byId("board"), element("thead", {}, element("tr", {}, ...headers)), element("tbody", {}, ...rows));
  }

  /** @param {Omit<BoardColumn, "digits">} column */
  #header(column) {
    const here = this.sorted === column.key;
    const sort = () => {
      this.descending = here ? !this.descending : !column.lower;
      this.sorted = column.key;
      this.show();
      /** @type {any} */ (document.querySelector(`[data-key="${CSS.escape(column.key)}"]`)).focus();
    };
    const arrow = here ? (this.descending ? " \u2193" : " \u2191") : "";
    const button = element(
      "button",
      { type: "button", class: "sort", dataset: { key: column.key }, on: { click: sort } },
      column.title + arrow,
    );
    return element(
      "th",
      { scope: "col", "aria-sort": here ? (this.descending ? "descending" : "ascending") : "none" },
      button,
    );
  }
}

/** @param {Row} row */
function nameCell(row) {
  const name =
    row.map === null ? row.name : element("a", { href: `index.html#map=${encodeURIComponent(row.map)}` }, row.name);
  const seeds = row.kind === "control" ? "" : ` (${row.access}, ${row.seeds} seed${row.seeds === 1 ? "" : "s"})`;
  return element("th", { scope: "row" }, name, element("span", { class: "note" }, seeds));
}

/**
 * @param {Cell | undefined} cell
 * @param {number} digits
 */
function cellText(cell, digits) {
  if (cell === undefined) return "";
  const text = (/** @type {number} */ number) =>
    number.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const [value, low, high] = cell;
  if (low === null || high === null || (low === value && high === value)) return text(value);
  return `${text(value)} [${text(low)}, ${text(high)}]`;
}

/**
 * How encoders and references look: references are grey, with thick lines and squares.
 * @param {Row[]} rows
 */
function looks(rows) {
  const counts = { encoder: 0, reference: 0 };
  return rows.map((row) => {
    const reference = row.kind === "reference";
    const number = counts[reference ? "reference" : "encoder"]++;
    const colours = reference ? REFERENCE_COLOURS : COLOURS;
    const turn = reference ? number : Math.floor(number / colours.length);
    const color = colours[number % colours.length];
    return {
      line: { color, width: reference ? 4 : 2, dash: DASHES[turn % DASHES.length] },
      marker: { color, size: 10, symbol: reference ? "square" : SYMBOLS[turn % SYMBOLS.length] },
    };
  });
}

/**
 * Curves of the validation loss.
 * @param {Row[]} rows
 * @param {"update" | "seconds"} key
 * @param {string} title
 */
function drawCurves(rows, key, title) {
  const styles = looks(rows);
  const traces = rows.map((row, place) => ({
    mode: "lines",
    name: plain(row.name),
    x: row.curve[key],
    y: row.curve.loss,
    line: styles[place].line,
    hovertemplate: `${plain(row.name)}: %{y:.4f}<extra></extra>`,
  }));
  const layout = {
    xaxis: axis(title),
    yaxis: axis("TV per step, validation", LOSS_AXIS),
    legend: { orientation: "h", y: -0.2 },
  };
  draw(byId(key === "update" ? "updates" : "seconds"), `validation loss of encoders against ${title}`, traces, layout);
}

/** @param {Row[]} rows */
function drawQueries(rows) {
  const styles = looks(rows);
  const traces = rows.map((row, place) => {
    const [value, low, high] = row.cells.test;
    const error =
      low === null || high === null
        ? {}
        : { error_y: { type: "data", symmetric: false, array: [high - value], arrayminus: [value - low] } };
    return {
      mode: "markers",
      name: plain(row.name),
      x: [row.cells.queries[0]],
      y: [value],
      marker: styles[place].marker,
      ...error,
      hovertemplate: `${plain(row.name)}: %{x} queries, %{y:.4f}<extra></extra>`,
    };
  });
  const layout = {
    xaxis: axis("steps that each network is run for"),
    yaxis: axis("TV per step, test", LOSS_AXIS),
    legend: { orientation: "h", y: -0.2 },
  };
  draw(byId("queries"), "test loss of encoders against queries", traces, layout);
}

const entry = await readEntry("results");
if (entry === null) throw new Error("The page has no results.");
new Board(entry.head);
const trained = entry.head.rows.filter((/** @type {Row} */ row) => row.kind !== "control");
drawCurves(trained, "update", "updates");
drawCurves(trained, "seconds", "seconds of training");
drawQueries(trained);
document.body.dataset.ready = "yes";

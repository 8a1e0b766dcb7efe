/**
 * What is shown and selected. Every picture listens to it, so that all of them agree.
 */

/** @typedef {import("explorer/dataset").Dataset} Dataset */
/** @typedef {{run: number, step: number}} Snapshot */
/** @typedef {"filter" | "selection" | "step" | "colour" | "networks"} Change */

/** Filters, selection, step, colours and the networks that are looked at. */
export class State {
  /** @param {Dataset} data */
  constructor(data) {
    this.data = data;
    /** @type {Map<string, Set<string>>} column -> its texts that are hidden */
    this.hidden = new Map();
    /** @type {string} part of the task's name that rows must have */
    this.task = "";
    /** @type {Set<number> | null} selected runs; null: none is singled out */
    this.selected = null;
    this.step = data.steps[data.steps.length - 1];
    this.colour = "split";
    /** @type {[Snapshot | null, Snapshot | null]} */
    this.networks = [null, null];
    /** @type {Array<(change: Change) => void>} */
    this.listeners = [];
    this.visible = this.#visibleRows();
  }

  /** @param {(change: Change) => void} listener called after every change */
  listen(listener) {
    this.listeners.push(listener);
  }

  /** @param {Change} change */
  #changed(change) {
    for (const listener of this.listeners) listener(change);
  }

  /** Columns by which rows can be filtered: texts with few values, and the weight decay. */
  get filterColumns() {
    return ["split", "architecture", "cell", "weight_decay"].filter((name) => this.filterValues(name).length > 1);
  }

  /**
   * The values of a column by which rows can be filtered, as texts.
   * @param {string} name
   * @returns {string[]}
   */
  filterValues(name) {
    const column = this.data.columns.get(name);
    if (column === undefined) return [];
    if (column.kind !== "number") return column.texts;
    const values = [...new Set(Array.from(column.values))].sort((a, b) => a - b);
    return values.length > 12 ? [] : values.map((value) => this.filterText(name, value));
  }

  /**
   * The text of a value of a column, as in `filterValues`.
   * @param {string} name
   * @param {number} value
   */
  filterText(name, value) {
    const column = this.data.column(name);
    return column.kind === "number" ? String(Number(value.toPrecision(6))) : column.texts[value];
  }

  /**
   * Show or hide the rows with a value.
   * @param {string} name
   * @param {string} value
   * @param {boolean} shown
   */
  setShown(name, value, shown) {
    const hidden = this.hidden.get(name) ?? new Set();
    if (shown) hidden.delete(value);
    else hidden.add(value);
    this.hidden.set(name, hidden);
    this.#filtered();
  }

  /** @param {string} text part of a task's name, in any case */
  setTask(text) {
    this.task = text.toLowerCase();
    this.#filtered();
  }

  #filtered() {
    this.visible = this.#visibleRows();
    this.#changed("filter");
  }

  /** @returns {Uint8Array} 1 for every row that no filter hides */
  #visibleRows() {
    const visible = new Uint8Array(this.data.rows).fill(1);
    for (const [name, hidden] of this.hidden) {
      if (hidden.size === 0) continue;
      const { values } = this.data.column(name);
      for (let row = 0; row < visible.length; row++)
        if (hidden.has(this.filterText(name, values[row]))) visible[row] = 0;
    }
    if (this.task !== "") {
      const task = this.data.column("task");
      const found = task.texts.map((text) => text.toLowerCase().includes(this.task));
      for (let row = 0; row < visible.length; row++) if (!found[task.values[row]]) visible[row] = 0;
    }
    return visible;
  }

  /** @param {Iterable<number> | null} runs */
  select(runs) {
    const found = runs === null ? null : new Set(runs);
    this.selected = found !== null && found.size === 0 ? null : found;
    this.#changed("selection");
  }

  /** @param {number} row whether its run is selected, or none is singled out */
  isSelected(row) {
    return this.selected === null || this.selected.has(this.data.run[row]);
  }

  /** @param {number} step */
  setStep(step) {
    this.step = step;
    this.#changed("step");
  }

  /** @param {string} name column that colours pictures */
  setColour(name) {
    this.colour = name;
    this.#changed("colour");
  }

  /**
   * Look at a network.
   * @param {0 | 1} place
   * @param {Snapshot | null} snapshot
   */
  look(place, snapshot) {
    this.networks[place] = snapshot;
    this.#changed("networks");
  }

  /** Visible rows at the current step: of each run its last one so far. */
  rowsAtStep() {
    const rows = [];
    for (const run of this.data.runs.keys()) {
      const row = this.data.rowAt(run, this.step);
      if (row !== null && this.visible[row]) rows.push(row);
    }
    return rows;
  }
}

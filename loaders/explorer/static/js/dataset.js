/**
 * The data of a page: scripts have stored JSON heads and gzipped arrays in one global object.
 */

import { scaleOf } from "explorer/scales";

/**
 * @typedef {{dtype: string, offset: number, length: number}} Place
 * @typedef {"number" | "truth" | "text"} Kind
 * @typedef {{name: string, kind: Kind, description: string, unit: string, values?: string[]} & Place} ColumnHead
 * @typedef {{head: any, block: ArrayBuffer}} Entry
 * @typedef {import("explorer/network").Architecture & {name: string}} NamedArchitecture
 */

const TYPES = /** @type {Record<string, any>} */ ({
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int32: Int32Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
});

/**
 * Read a data file that the page has loaded, or null if it has none of this name.
 * @param {string} name
 * @returns {Promise<Entry | null>}
 */
export async function readEntry(name) {
  const stored = /** @type {any} */ (globalThis).rnnZoosData?.[name];
  if (stored === undefined) return null;
  const text = atob(stored.bytes);
  const packed = new Uint8Array(text.length);
  for (let place = 0; place < packed.length; place++) packed[place] = text.charCodeAt(place);
  if (packed.length === 0) return { head: stored.head, block: new ArrayBuffer(0) };
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return { head: stored.head, block: await new Response(stream).arrayBuffer() };
}

/**
 * An array of a block. float16 becomes float32.
 * @param {ArrayBuffer} block
 * @param {Place} place
 * @returns {any} a typed array
 */
export function arrayAt(block, place) {
  const values = new TYPES[place.dtype](block, place.offset, place.length);
  return place.dtype === "float16" ? Float32Array.from(values, fromHalf) : values;
}

/**
 * The number that 16 bits of an IEEE half stand for.
 * @param {number} bits
 */
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** A column of the index. */
export class Column {
  /**
   * @param {ColumnHead} head
   * @param {ArrayBuffer} block
   */
  constructor(head, block) {
    this.name = head.name;
    this.kind = head.kind;
    this.description = head.description;
    this.unit = head.unit;
    /** Texts that the values stand for. */
    this.texts = head.kind === "truth" ? ["no", "yes"] : (head.values ?? []);
    /** @type {ArrayLike<number>} */
    this.values = arrayAt(block, head);
    /** Where its numbers are in pictures. */
    this.scale = scaleOf(head.kind === "number" ? this.values : []);
  }

  /**
   * The value of a row for reading.
   * @param {number} row
   * @param {(value: number) => string} shown how numbers are written
   */
  text(row, shown) {
    return this.kind === "number" ? shown(this.values[row]) : this.texts[this.values[row]];
  }

  /** Name and unit, for an axis. */
  get title() {
    return this.unit ? `${this.name} (${this.unit})` : this.name;
  }
}

/** The zoo of a page: what it is, and the columns of its index. */
export class Dataset {
  /** @param {Entry} entry */
  constructor(entry) {
    this.head = entry.head;
    /** @type {number} */
    this.rows = entry.head.rows;
    /** @type {Map<string, Column>} */
    this.columns = new Map(
      entry.head.columns.map((/** @type {ColumnHead} */ head) => [head.name, new Column(head, entry.block)]),
    );
    /** @type {number[]} */
    this.steps = entry.head.steps;
    this.run = this.column("run").values;
    this.step = this.column("step").values;
    /** @type {Map<number, number[]>} run -> its rows by step */
    this.runs = this.#rowsOfRuns();
  }

  #rowsOfRuns() {
    /** @type {Map<number, number[]>} */
    const found = new Map();
    for (let row = 0; row < this.rows; row++) {
      const rows = found.get(this.run[row]);
      if (rows) rows.push(row);
      else found.set(this.run[row], [row]);
    }
    for (const rows of found.values()) rows.sort((a, b) => this.step[a] - this.step[b]);
    return new Map([...found].sort(([a], [b]) => a - b));
  }

  /**
   * A column that every zoo has.
   * @param {string} name
   * @returns {Column}
   */
  column(name) {
    const found = this.columns.get(name);
    if (found === undefined) throw new Error(`the index has no column ${name}`);
    return found;
  }

  /** Names of the numeric labels, then of the numeric columns of tasks. */
  get numbers() {
    const hidden = new Set(["run", "shard", "row"]);
    return [...this.columns.values()]
      .filter((column) => column.kind === "number" && !hidden.has(column.name))
      .map((column) => column.name);
  }

  /** The label that stands for how good a network is: accuracy, else the first label. */
  get mainLabel() {
    const labels = this.head.labels.filter((/** @type {string} */ name) => this.columns.has(name));
    return this.columns.has("accuracy") ? "accuracy" : (labels[0] ?? "step");
  }

  /**
   * The row of a run at a step, or at its last step before.
   * @param {number} run
   * @param {number} step
   * @returns {number | null} null if there is none
   */
  rowAt(run, step) {
    const rows = (this.runs.get(run) ?? []).filter((row) => this.step[row] <= step);
    return rows.length ? rows[rows.length - 1] : null;
  }

  /**
   * The architecture of a row's network.
   * @param {number} row
   * @returns {NamedArchitecture}
   */
  architecture(row) {
    const all = this.head.architectures;
    const column = this.columns.get("architecture");
    if (column === undefined) return all[0];
    return all.find((/** @type {NamedArchitecture} */ own) => own.name === column.texts[column.values[row]]) ?? all[0];
  }
}

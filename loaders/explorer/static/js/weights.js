/**
 * Weights of networks: from inside the page, or by one small request from the zoo's own files where they are served.
 */

import { arrayAt } from "explorer/dataset";
import { readHeader, readRow, splitRow } from "explorer/safetensors";

/** @typedef {import("explorer/dataset").Dataset} Dataset */
/** @typedef {import("explorer/dataset").Entry} Entry */
/** @typedef {Map<string, Float32Array>} Tensors */

/** Where the weights of a row come from. */
export class Weights {
  /**
   * @param {Dataset} data
   * @param {Entry | null} inside networks that the page has
   */
  constructor(data, inside) {
    this.data = data;
    this.inside = inside;
    /** @type {Map<number, number>} row -> its place among the networks inside */
    this.places = new Map(
      (inside?.head.rows ?? []).map((/** @type {number} */ row, /** @type {number} */ place) => [row, place]),
    );
    this.served = data.head.weights !== null && location.protocol.startsWith("http");
    /** @type {Map<string, Promise<any>>} */
    this.headers = new Map();
  }

  /** @param {number} row whether its network can run here */
  has(row) {
    return this.served || this.places.has(row);
  }

  /** Runs with a network that can run here. */
  get runs() {
    const { run } = this.data;
    return this.served ? [...this.data.runs.keys()] : [...new Set([...this.places.keys()].map((row) => run[row]))];
  }

  /**
   * The weights of a row's network.
   * @param {number} row
   * @returns {Promise<Tensors>} name -> values in row-major order
   */
  async tensors(row) {
    const place = this.places.get(row);
    if (place !== undefined && this.inside !== null) {
      return splitRow(this.data.architecture(row), arrayAt(this.inside.block, this.inside.head.places[place]));
    }
    if (!this.served) throw new Error("The weights of this network are not inside the page.");
    const { columns, head } = this.data;
    const split = this.data.column("split").text(row, String);
    const shard = head.shards[split][/** @type {any} */ (columns.get("shard")).values[row]];
    const url = head.weights + shard;
    const header = await this.#header(url);
    return readRow(url, header, /** @type {any} */ (columns.get("row")).values[row]);
  }

  /** @param {string} url */
  #header(url) {
    const known = this.headers.get(url) ?? readHeader(url);
    this.headers.set(url, known);
    known.catch(() => this.headers.delete(url));
    return known;
  }
}

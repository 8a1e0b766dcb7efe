/**
 * Single networks out of the shards of a zoo: safetensors files of stacked tensors [rows, *shape].
 *
 * A row of a stacked tensor is one contiguous slice, so that a network is as many slices as it has parameters.
 */

import { parameterShapes, sizeOf } from "explorer/architecture";
import { readRanges } from "explorer/byteranges";

/** @typedef {import("explorer/architecture").Architecture} Architecture */
/** @typedef {{dtype: string, shape: number[], start: number, end: number}} TensorPlace Bytes `start` to `end` - 1. */
/** @typedef {{rows: number, tensors: Map<string, TensorPlace>}} Header Rows of every tensor, and where it is. */

const LENGTH_BYTES = 8;
const MAX_HEADER = 1 << 20; // far more than the names, shapes and places of 100 layers
const FLOAT_BYTES = 4;

/**
 * Read where the tensors of a file are; throw Error unless it is a safetensors file of stacked tensors.
 * @param {string} url
 * @param {typeof fetch} [fetcher]
 * @returns {Promise<Header>}
 */
export async function readHeader(url, fetcher = fetch) {
  const [lengthBytes] = await readRanges(url, [{ start: 0, end: LENGTH_BYTES }], fetcher);
  const length = Number(new DataView(lengthBytes.buffer).getBigUint64(0, true));
  if (length > MAX_HEADER) throw new Error(`${url} is not a shard of a zoo: its header has ${length} bytes.`);
  const first = LENGTH_BYTES + length; // where the tensors begin
  const [header] = await readRanges(url, [{ start: LENGTH_BYTES, end: first }], fetcher);
  /** @type {Map<string, TensorPlace>} */
  const tensors = new Map();
  for (const [name, tensor] of Object.entries(JSON.parse(new TextDecoder().decode(header)))) {
    if (name === "__metadata__") continue;
    const [start, end] = tensor.data_offsets;
    tensors.set(name, { dtype: tensor.dtype, shape: tensor.shape, start: first + start, end: first + end });
  }
  const rows = new Set([...tensors.values()].map(({ shape }) => shape[0]));
  const [count] = rows;
  if (rows.size !== 1 || count === undefined) throw new Error(`The tensors of ${url} do not have the same rows.`);
  return { rows: count, tensors };
}

/**
 * Read one row of every tensor, by one request where the server allows it; throw Error if there is no such row.
 * @param {string} url
 * @param {Header} header
 * @param {number} row Number of the row in the file, from 0.
 * @param {typeof fetch} [fetcher]
 * @returns {Promise<Map<string, Float32Array>>} Name -> the entries [*shape] of the row.
 */
export async function readRow(url, header, row, fetcher = fetch) {
  if (!(Number.isInteger(row) && row >= 0 && row < header.rows)) {
    throw new RangeError(`The row is ${row}; ${url} has the rows 0 to ${header.rows - 1}.`);
  }
  const names = [...header.tensors.keys()];
  const ranges = [...header.tensors].map(([name, { dtype, shape, start }]) => {
    if (dtype !== "F32") throw new Error(`${name} of ${url} is ${dtype}; expected F32.`);
    const bytes = FLOAT_BYTES * sizeOf(shape.slice(1));
    return { start: start + row * bytes, end: start + (row + 1) * bytes };
  });
  const parts = await readRanges(url, ranges, fetcher);
  // Every part is a copy, so that it begins at a multiple of four bytes.
  return new Map(names.map((name, index) => [name, new Float32Array(parts[index].buffer)]));
}

/**
 * Split flat weights into named parameters, views of the vector; throw RangeError if its length is another one.
 * @param {Architecture} architecture
 * @param {Float32Array} flat [P].
 * @returns {Map<string, Float32Array>}
 */
export function splitRow(architecture, flat) {
  /** @type {Map<string, Float32Array>} */
  const tensors = new Map();
  let place = 0;
  for (const [name, shape] of parameterShapes(architecture)) {
    tensors.set(name, flat.subarray(place, place + sizeOf(shape)));
    place += sizeOf(shape);
  }
  if (place !== flat.length) throw new RangeError(`There are ${flat.length} flat weights; expected ${place}.`);
  return tensors;
}

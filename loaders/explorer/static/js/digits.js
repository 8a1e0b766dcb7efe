/** Rotated digits as networks read them: tables of indices that rotate 28 x 28 pixels, and tiles of 4 x 4. */

export const SIDE = 28;
export const PIXELS = SIDE * SIDE;
/** Index of a pixel outside the image. */
export const BLACK = PIXELS;
/** Side of a tile. */
export const TILE = 4;
/** Steps of a network: one tile of zeros, then the 49 tiles of a digit. */
export const STEPS = 1 + PIXELS / TILE ** 2;

const MEAN = Math.fround(0.1307);
const STD = Math.fround(0.3081);

/**
 * Round to 15 decimals, as Python's `round` does.
 * @param {number} value
 */
const rounded = (value) => Number(value.toFixed(15));

/**
 * Convert to 16.16 fixed point.
 * @param {number} value
 */
const fixed = (value) => Math.floor(value * 65536 + 0.5);

/**
 * Return the table of a rotation by quarter turns, which is exact.
 * @param {number} turns 0..3, counter-clockwise.
 * @returns {Uint16Array} Indices [784].
 */
function quarterTurns(turns) {
  const last = SIDE - 1;
  return Uint16Array.from({ length: PIXELS }, (_, place) => {
    let row = Math.floor(place / SIDE);
    let column = place % SIDE;
    for (let turn = 0; turn < turns; turn++) [row, column] = [column, last - row];
    return row * SIDE + column;
  });
}

/**
 * Return the table that rotates a digit counter-clockwise: for each pixel the index of the one that it shows, or BLACK.
 *
 * Nearest neighbour about the centre, in the fixed point of PIL. Sine and cosine may differ from those of Python in
 * their last bit; rounding to 15 decimals hides nearly all of that, and a pixel changes for about 1 in 10**9 angles.
 * @param {number} degrees
 * @returns {Uint16Array} Indices [784].
 */
export function rotationTable(degrees) {
  const remainder = degrees % 360;
  const angle = remainder < 0 ? remainder + 360 : remainder;
  if (angle % 90 === 0) return quarterTurns((angle / 90) % 4);
  const radians = angle * (Math.PI / 180);
  const cos = rounded(Math.cos(radians));
  const sin = rounded(Math.sin(-radians));
  const centre = SIDE / 2;
  // Column and row of the source of the centre of output pixel (0, 0).
  const firstColumn = cos * -centre + sin * -centre + centre + (cos + sin) * 0.5;
  const firstRow = -sin * -centre + cos * -centre + centre + (cos - sin) * 0.5;
  return Uint16Array.from({ length: PIXELS }, (_, place) => {
    const y = Math.floor(place / SIDE);
    const x = place % SIDE;
    const column = (fixed(firstColumn) + fixed(cos) * x + fixed(sin) * y) >> 16;
    const row = (fixed(firstRow) + fixed(-sin) * x + fixed(cos) * y) >> 16;
    const inside = column >= 0 && column < SIDE && row >= 0 && row < SIDE;
    return inside ? row * SIDE + column : BLACK;
  });
}

/**
 * Rotate a digit, cut it into tiles, and normalise it.
 * @param {Uint8Array} pixels [784].
 * @param {Uint16Array} table Rotation table [784].
 * @returns {Float32Array} Inputs [50*16]: a tile of zeros, then the 49 tiles, line by line.
 */
export function tileInputs(pixels, table) {
  const inputs = new Float32Array(STEPS * TILE ** 2);
  const tilesPerRow = SIDE / TILE;
  for (let place = 0; place < PIXELS; place++) {
    const row = Math.floor(place / SIDE);
    const column = place % SIDE;
    const tile = Math.floor(row / TILE) * tilesPerRow + Math.floor(column / TILE);
    const within = (row % TILE) * TILE + (column % TILE);
    const pixel = table[place] === BLACK ? 0 : pixels[table[place]];
    // Every step is rounded to float32, as in Python; the last one by the array.
    inputs[(tile + 1) * TILE ** 2 + within] = Math.fround(Math.fround(pixel / 255) - MEAN) / STD;
  }
  return inputs;
}

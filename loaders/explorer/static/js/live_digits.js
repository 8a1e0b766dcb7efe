/**
 * Networks that read digits in tiles: a digit of MNIST or a drawn one, turned, and the classes after every tile.
 */

import { chooser, element, fill, labelled, readable } from "explorer/dom";
import { arrayAt } from "explorer/dataset";
import { BLACK, PIXELS, SIDE, STEPS, TILE, rotationTable, tileInputs } from "explorer/digits";
import { byUnit, heatmap, hiddenHeatmaps } from "explorer/heatmap";
import { probabilities } from "explorer/live_reading";

/** @typedef {import("explorer/network").Network} Network */
/** @typedef {import("explorer/dataset").Dataset} Dataset */

const SCALE = 5; // screen pixels of a pixel of the digit
const CLASSES = 10;

/** The view of digits. */
export class LiveDigits {
  /**
   * @param {any} head of the page's data
   * @param {() => void} refresh
   * @param {import("explorer/dataset").Entry} digits
   */
  constructor(head, refresh, digits) {
    this.refresh = refresh;
    this.images = arrayAt(digits.block, digits.head);
    this.head = digits.head;
    this.axis = head.view.axes[0];
    this.pixels = Uint8Array.from(this.images.subarray(0, PIXELS));
    this.turnToTask = element("input", { type: "checkbox", checked: true, id: "to-task" });
    this.angle = element("input", { type: "range", min: 0, max: 359, step: 1, value: 0, id: "angle", disabled: true });
    this.read = element("input", { type: "range", min: 0, max: STEPS - 1, step: 1, value: STEPS - 1, id: "tiles" });
    this.drawing = element("canvas", {
      width: SIDE * SCALE,
      height: SIDE * SCALE,
      id: "drawing",
      tabIndex: 0,
      role: "img",
    });
    this.drawing.setAttribute(
      "aria-label",
      "the digit, not turned; draw on it with the mouse or a finger, or move with the arrow keys and press space",
    );
    this.cursor = { x: SIDE / 2, y: SIDE / 2 };
    this.turnToTask.addEventListener("change", () => {
      this.angle.disabled = this.turnToTask.checked;
      refresh();
    });
    for (const slider of [this.angle, this.read]) slider.addEventListener("input", refresh);
    this.#listenToDrawing();
  }

  controls() {
    const options = this.head.labels.map((/** @type {number} */ label, /** @type {number} */ place) => [
      String(place),
      `${label} (MNIST number ${this.head.numbers[place]})`,
    ]);
    const choice = chooser(options, "0", (place) =>
      this.#use(this.images.subarray(Number(place) * PIXELS, (Number(place) + 1) * PIXELS)),
    );
    choice.id = "digit";
    const clear = element(
      "button",
      { type: "button", id: "wipe", on: { click: () => this.#use(new Uint8Array(PIXELS)) } },
      "empty",
    );
    this.#paint();
    return [
      labelled("digit", choice),
      clear,
      this.drawing,
      element("label", { class: "tick" }, this.turnToTask, "turned as in the network's task"),
      labelled("angle", this.angle),
      labelled("tiles read", this.read),
    ];
  }

  /** @param {Uint8Array} pixels */
  #use(pixels) {
    this.pixels = Uint8Array.from(pixels);
    this.#paint();
    this.refresh();
  }

  #listenToDrawing() {
    const draw = (/** @type {PointerEvent} */ event) => {
      if (event.buttons === 0) return;
      const box = this.drawing.getBoundingClientRect();
      this.#brush(((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE);
    };
    this.drawing.addEventListener("pointerdown", draw);
    this.drawing.addEventListener("pointermove", draw);
    this.drawing.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const move = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0], " ": [0, 0] }[
        event.key
      ];
      if (move === undefined) return;
      event.preventDefault();
      this.cursor.x = Math.min(SIDE - 0.5, Math.max(0.5, this.cursor.x + move[0]));
      this.cursor.y = Math.min(SIDE - 0.5, Math.max(0.5, this.cursor.y + move[1]));
      if (event.key === " ") this.#brush(this.cursor.x, this.cursor.y);
      else this.#paint(true);
    });
  }

  /**
   * Draw a soft dot around a point, in pixels of the digit.
   * @param {number} x
   * @param {number} y
   */
  #brush(x, y) {
    for (let row = 0; row < SIDE; row++) {
      for (let column = 0; column < SIDE; column++) {
        const far = Math.hypot(column + 0.5 - x, row + 0.5 - y);
        const ink = Math.round(255 * Math.min(1, Math.max(0, 1.9 - far)));
        this.pixels[row * SIDE + column] = Math.max(this.pixels[row * SIDE + column], ink);
      }
    }
    this.#paint();
    this.refresh();
  }

  /** @param {boolean} [withCursor] */
  #paint(withCursor = false) {
    const context = /** @type {CanvasRenderingContext2D} */ (this.drawing.getContext("2d"));
    paintPixels(context, (place) => this.pixels[place]);
    if (!withCursor) return;
    context.strokeStyle = "#ff5555";
    context.strokeRect((this.cursor.x - 0.5) * SCALE, (this.cursor.y - 0.5) * SCALE, SCALE, SCALE);
  }

  /**
   * @param {HTMLElement} node
   * @param {Network} network
   * @param {Dataset} data
   * @param {number} row
   */
  show(node, network, data, row) {
    const angle = this.turnToTask.checked ? data.column(this.axis).values[row] : Number(this.angle.value);
    const table = rotationTable(angle);
    const read = Number(this.read.value);
    const run = network.run(tileInputs(this.pixels, table), STEPS);
    const found = probabilities(network, run);
    const last = found.subarray(read * CLASSES, (read + 1) * CLASSES);
    const named = last.indexOf(Math.max(...last));
    const steps = Array.from({ length: STEPS }, (_, t) => (t === 0 ? "empty tile" : `tile ${t}`));
    fill(
      node,
      element(
        "p",
        {},
        `After ${read} of ${STEPS - 1} tiles, turned by ${readable(angle)} degrees: class ${named} with probability ${readable(last[named])}.`,
      ),
      seenDigit(this.pixels, table, read, angle),
      classMap(found, steps),
      ...hiddenHeatmaps(run.hidden, network.architecture.hidden_size, steps, 7),
    );
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {(place: number) => number} pixel grey value of a pixel, 0 to 255; below 0: not yet read
 */
function paintPixels(context, pixel) {
  for (let place = 0; place < PIXELS; place++) {
    const grey = pixel(place);
    context.fillStyle = grey < 0 ? "#32506e" : `rgb(${grey},${grey},${grey})`;
    context.fillRect((place % SIDE) * SCALE, Math.floor(place / SIDE) * SCALE, SCALE, SCALE);
  }
}

/**
 * The turned digit; tiles that are not yet read are blue.
 * @param {Uint8Array} pixels
 * @param {Uint16Array} table
 * @param {number} read
 * @param {number} angle
 */
function seenDigit(pixels, table, read, angle) {
  const canvas = element("canvas", {
    width: SIDE * SCALE,
    height: SIDE * SCALE,
    role: "img",
    "aria-label": `the digit turned by ${readable(angle)} degrees, ${read} tiles of it`,
  });
  const perRow = SIDE / TILE;
  paintPixels(canvas.getContext("2d"), (place) => {
    const tile = Math.floor(Math.floor(place / SIDE) / TILE) * perRow + Math.floor((place % SIDE) / TILE);
    if (tile >= read) return -1;
    return table[place] === BLACK ? 0 : pixels[table[place]];
  });
  return canvas;
}

/**
 * @param {Float32Array} found [T * 10]
 * @param {string[]} steps
 */
function classMap(found, steps) {
  const names = Array.from({ length: CLASSES }, (_, o) => String(o));
  return heatmap({
    title: "probability of each class (up) after each tile (across)",
    values: byUnit(found, CLASSES),
    rows: CLASSES,
    columns: STEPS,
    width: 7,
    height: 14,
    down: names,
    rowName: (o) => `class ${o}`,
    columnName: (t) => `after ${steps[t]}`,
  });
}

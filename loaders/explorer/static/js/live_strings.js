/**
 * Networks that write strings: the next symbol after a typed beginning, and strings from a seed, each judged.
 */

import { element, fill, labelled, stringField } from "explorer/dom";
import { BOS, LETTERS, asText, fault, judge, sampleStrings } from "explorer/languages";
import { readingMaps } from "explorer/live_reading";

/** @typedef {import("explorer/network").Network} Network */
/** @typedef {import("explorer/dataset").Dataset} Dataset */

const STRINGS = 10;
const LONGEST = 41;

/**
 * Return what the strings of the zoo's own seed are. The accuracy of imported networks was measured on stored strings.
 * @param {any} head of the page's data
 * @returns {string}
 */
export function seedNote(head) {
  const measured = head.about.imported ? "" : ", on which the accuracy was measured";
  return `With the zoo's own seed, ${head.seed}, these are the strings of \`rnn-zoos sample\`${measured}.`;
}

/** The view of languages. */
export class LiveStrings {
  /**
   * @param {any} head of the page's data
   * @param {() => void} refresh
   */
  constructor(head, refresh) {
    this.head = head;
    this.beginning = stringField("beginning", "aaabbb", LONGEST, refresh);
    this.seed = element("input", { type: "text", inputMode: "numeric", id: "seed", value: head.seed, size: 8 });
    this.seed.addEventListener("input", refresh);
  }

  controls() {
    return [
      labelled("beginning (letters a to d)", this.beginning),
      labelled("seed of its strings", this.seed),
      element("p", { class: "note" }, seedNote(this.head)),
    ];
  }

  /**
   * @param {HTMLElement} node
   * @param {Network} network
   * @param {Dataset} data
   * @param {number} row
   */
  show(node, network, data, row) {
    const letters = [...this.beginning.value.toLowerCase()]
      .filter((letter) => LETTERS.includes(letter))
      .slice(0, LONGEST - 1);
    const read = ["BOS", ...letters];
    const run = network.runSymbols([BOS, ...letters.map((letter) => LETTERS.indexOf(letter))]);
    const maps = readingMaps(
      network,
      run,
      read,
      this.head.view.symbols,
      "probability of the next symbol (up) after each symbol read (across)",
    );
    fill(node, maps[0], this.#written(network, data, row), ...maps.slice(1));
  }

  /**
   * @param {Network} network
   * @param {Dataset} data
   * @param {number} row
   */
  #written(network, data, row) {
    const offsets = /** @type {[number, number, number]} */ (
      ["m_b", "m_c", "m_d"].map((name) => data.column(name).values[row])
    );
    if (!/^\d{1,20}$/.test(this.seed.value)) return element("p", { class: "note" }, "The seed is a whole number.");
    const place = { seed: BigInt(this.seed.value), run: data.run[row], step: data.step[row], count: STRINGS };
    const items = sampleStrings(network, place).map((sequence) => {
      const verdict = judge(sequence, offsets);
      const wrong = fault(verdict);
      const text = asText(sequence) || "(empty)";
      return element(
        "li",
        { class: verdict.accepted ? "right" : "wrong" },
        element("code", {}, text),
        verdict.accepted ? " right" : ` wrong: ${wrong}`,
      );
    });
    return element(
      "div",
      {},
      element("h4", {}, "Strings that it writes"),
      element("ol", { class: "strings" }, ...items),
    );
  }
}

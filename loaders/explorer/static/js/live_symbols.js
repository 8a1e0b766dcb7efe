/**
 * Networks that read one-hot symbols and name a class after every one.
 */

import { element, fill, labelled, stringField } from "explorer/dom";
import { readingMaps } from "explorer/live_reading";

/** @typedef {import("explorer/network").Network} Network */

/** The view of families with symbols of their own. */
export class LiveSymbols {
  /**
   * @param {any} head of the page's data
   * @param {() => void} refresh
   */
  constructor(head, refresh) {
    this.view = head.view;
    this.text = stringField("beginning", this.view.symbols.slice(0, 6).join(""), 200, refresh);
  }

  controls() {
    return [labelled(`string (symbols ${this.view.symbols.join(" ")})`, this.text)];
  }

  /**
   * @param {HTMLElement} node
   * @param {Network} network
   */
  show(node, network) {
    const read = [...this.text.value].filter((symbol) => this.view.symbols.includes(symbol));
    if (read.length === 0) return fill(node, element("p", { class: "note" }, "Type a string above."));
    const run = network.runSymbols(read.map((symbol) => this.view.symbols.indexOf(symbol)));
    fill(
      node,
      ...readingMaps(
        network,
        run,
        read,
        this.view.classes,
        "probability of each class (up) after each symbol read (across)",
      ),
    );
  }
}

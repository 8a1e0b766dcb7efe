/**
 * How networks of a family run in the page, by the name that the family gives: what is typed, and what is shown.
 *
 * A class has `controls()`, the fields that are shared by both networks, and `show(node, network, data, row)`, which
 * runs one network on what the fields say. It calls `refresh` when a field changes.
 */

import { element, fill } from "explorer/dom";
import { LiveAutomaton } from "explorer/live_automaton";
import { LiveDigits } from "explorer/live_digits";
import { LiveStrings } from "explorer/live_strings";
import { LiveSymbols } from "explorer/live_symbols";

/** Of families whose inputs the page cannot make. */
class LiveNone {
  controls() {
    return [element("p", {}, "Networks of this family do not run in the page: it says nothing of their inputs.")];
  }

  /** @param {HTMLElement} node */
  show(node) {
    fill(node);
  }
}

/** @type {Record<string, any>} */
export const LIVE = {
  strings: LiveStrings,
  automaton: LiveAutomaton,
  digits: LiveDigits,
  symbols: LiveSymbols,
  none: LiveNone,
};

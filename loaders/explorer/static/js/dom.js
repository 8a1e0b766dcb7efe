/**
 * Small helpers for the document. Texts of a zoo only ever become text nodes, never HTML.
 */

/**
 * Make an element.
 * @param {string} tag
 * @param {Record<string, any>} [properties] `class`, `dataset`, `on` (event -> listener), `aria-...` and other
 *   attributes with a dash are set as such; everything else is assigned to the element.
 * @param {...(Node | string | number | null | undefined)} children
 * @returns {any} the element, of the type that belongs to the tag
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") made.className = value;
    else if (name === "on")
      for (const [type, listener] of Object.entries(value)) made.addEventListener(type, /** @type {any} */ (listener));
    else if (name === "dataset") Object.assign(made.dataset, value);
    else if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, String(value));
    else /** @type {any} */ (made)[name] = value;
  }
  made.append(
    ...children
      .filter((child) => child !== null && child !== undefined)
      .map((child) => (child instanceof Node ? child : String(child))),
  );
  return made;
}

/**
 * Replace the content of an element.
 * @param {Element} parent
 * @param {...(Node | string | null | undefined)} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren(
    ...children
      .filter((child) => child !== null && child !== undefined)
      .map((child) => /** @type {Node | string} */ (child)),
  );
}

/**
 * The element with an id, which the page's own HTML has.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page lacks #${id}`);
  return found;
}

/**
 * A text as plotly shows it literally: plotly reads some HTML in its texts.
 * @param {unknown} text
 */
export function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/**
 * A number for reading: whole numbers with separators, unless they are huge, others with four significant digits.
 * @param {number} value
 */
export function readable(value) {
  if (Number.isNaN(value)) return "none";
  if (Number.isSafeInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-4 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

/** Wait until the browser has shown what was changed. */
export function nextTask() {
  return new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));
}

/**
 * A `label` around a control.
 * @param {string} text
 * @param {HTMLElement} control
 */
export function labelled(text, control) {
  return element("label", { class: "field" }, element("span", {}, text), control);
}

/**
 * A field for strings that a network reads.
 * @param {string} id
 * @param {string} value
 * @param {number} longest
 * @param {() => void} changed called at every key
 * @returns {HTMLInputElement}
 */
export function stringField(id, value, longest, changed) {
  const properties = { type: "text", id, value, maxLength: longest, size: 28, spellcheck: false, autocomplete: "off" };
  return element("input", { ...properties, on: { input: changed } });
}

/**
 * A `select` with options.
 * @param {Array<[string, string]>} options value and text of each
 * @param {string} chosen
 * @param {(value: string) => void} changed
 * @returns {HTMLSelectElement}
 */
export function chooser(options, chosen, changed) {
  const made = element("select", {}, ...options.map(([value, text]) => element("option", { value }, text)));
  made.value = chosen;
  made.addEventListener("change", () => changed(made.value));
  return made;
}

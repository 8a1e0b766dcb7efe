/**
 * Several parts of one file by HTTP range requests (RFC 9110, section 14).
 *
 * All parts are asked for in one request. Servers may answer with one range that covers several parts; many, such as
 * object stores, ignore a request for several ranges. Then each part is asked for on its own.
 */

/** @typedef {{start: number, end: number}} Range First byte, and the byte after the last one. */
/** @typedef {{start: number, bytes: Uint8Array}} Segment Bytes of a file from `start`. */

const SLACK = 4096; // bytes of an answer beyond the parts: headers of the parts, or small gaps that are sent, too
const HEADERS_PER_PART = 512;

/**
 * Return parts of a file; throw Error if the server does not send them.
 * @param {string} url
 * @param {Range[]} ranges
 * @param {typeof fetch} fetcher
 * @returns {Promise<Uint8Array[]>} The bytes of each range.
 */
export async function readRanges(url, ranges, fetcher) {
  const segments = ranges.length > 1 ? await request(url, ranges, fetcher) : [];
  const found = ranges.map((range) => part(segments, range));
  const missing = ranges.filter((_, index) => !found[index]);
  const singles = await Promise.all(missing.map((range) => requestOne(url, range, fetcher)));
  return found.map((bytes) => bytes ?? /** @type {Uint8Array} */ (singles.shift()));
}

/**
 * Return one part of a file by a request of its own.
 * @param {string} url
 * @param {Range} range
 * @param {typeof fetch} fetcher
 * @returns {Promise<Uint8Array>}
 */
async function requestOne(url, range, fetcher) {
  const bytes = part(await request(url, [range], fetcher), range);
  if (!bytes) {
    throw new Error(
      `The server of ${url} did not send bytes ${range.start} to ${range.end - 1} alone; a server that answers range ` +
        "requests is needed, such as the one of rnn-zoos.",
    );
  }
  return bytes;
}

/**
 * Ask for ranges, and return what was sent; nothing, without reading the rest, if that is much more.
 * @param {string} url
 * @param {Range[]} ranges
 * @param {typeof fetch} fetcher
 * @returns {Promise<Segment[]>}
 */
async function request(url, ranges, fetcher) {
  const wanted = ranges.map(({ start, end }) => `${start}-${end - 1}`).join(",");
  const response = await fetcher(url, { headers: { Range: `bytes=${wanted}` } });
  const limit = ranges.reduce((sum, { start, end }) => sum + end - start + HEADERS_PER_PART, SLACK);
  const bytes = await readAtMost(response, limit);
  if (response.status !== 200 && response.status !== 206) {
    throw new Error(`The server answered ${response.status} to a request for bytes of ${url}.`);
  }
  if (!bytes) return [];
  if (response.status === 200) return [{ start: 0, bytes }]; // the whole file, which is hardly larger than its parts
  const type = response.headers.get("Content-Type") ?? "";
  if (/^multipart\/byteranges/i.test(type)) return parseMultipart(bytes, type);
  // Another origin may hide Content-Range; the answer to a request for one range is that range.
  const range = response.headers.get("Content-Range");
  return [{ start: range ? parseContentRange(range).start : ranges[0].start, bytes }];
}

/**
 * Read a body; null, and the download ends, once it is longer than a limit or says that it will be.
 * @param {Response} response
 * @param {number} limit Bytes.
 * @returns {Promise<Uint8Array | null>}
 */
async function readAtMost(response, limit) {
  const reader = response.body?.getReader();
  /** @type {Uint8Array[]} */
  const chunks = [];
  let size = Number(response.headers.get("Content-Length") ?? 0) > limit ? Infinity : 0;
  while (reader && size <= limit) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    size += value.length;
  }
  if (size > limit) {
    await reader?.cancel();
    return null;
  }
  const bytes = new Uint8Array(size);
  chunks.reduce((place, chunk) => (bytes.set(chunk, place), place + chunk.length), 0);
  return bytes;
}

/**
 * Return a copy of a range from the segment that contains it; null if none does.
 * @param {Segment[]} segments
 * @param {Range} range
 * @returns {Uint8Array | null}
 */
function part(segments, { start, end }) {
  const segment = segments.find((one) => one.start <= start && end <= one.start + one.bytes.length);
  return segment ? segment.bytes.slice(start - segment.start, end - segment.start) : null;
}

/**
 * Return the range of a Content-Range header; throw Error for another text.
 * @param {string} text Such as `bytes 7-19/900`.
 * @returns {Range}
 */
function parseContentRange(text) {
  const match = /^bytes\s+(\d+)-(\d+)\/(?:\d+|\*)$/i.exec(text.trim());
  if (!match) throw new Error(`The server sent the range "${text}"; expected one such as bytes 7-19/900.`);
  return { start: Number(match[1]), end: Number(match[2]) + 1 };
}

/**
 * Return the parts of a multipart/byteranges body; throw Error if it is malformed.
 * @param {Uint8Array} body
 * @param {string} contentType With the boundary.
 * @returns {Segment[]}
 */
export function parseMultipart(body, contentType) {
  const match = /;\s*boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType);
  const text = new TextDecoder("latin1").decode(body); // one character for each byte
  const delimiter = `--${match?.[1] ?? match?.[2]}`;
  /** @type {Segment[]} */
  const segments = [];
  // The length of a part is known from its range: its bytes are not searched, they may contain anything.
  for (let place = text.indexOf(delimiter); !text.startsWith(`${delimiter}--`, place);) {
    const end = place < 0 ? -1 : text.indexOf("\r\n\r\n", place);
    const range = end < 0 ? null : /^content-range:(.*)$/im.exec(text.slice(place, end));
    if (!match || !range) throw new Error("The server sent a multipart answer without the ranges of its parts.");
    const { start, end: last } = parseContentRange(range[1]);
    const first = end + 4;
    const next = first + last - start;
    if (!text.startsWith(`\r\n${delimiter}`, next)) throw new Error("A part of a multipart answer has another length.");
    segments.push({ start, bytes: body.subarray(first, next) });
    place = next + 2;
  }
  return segments;
}

"""Rows of shards are read by one request where the server allows it, else by one per tensor, never a whole shard."""

import struct

import pytest
import torch
from explorer import javascript, serving
from safetensors.torch import save, save_file

from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.weights import flatten, stack_weights

ARCHITECTURE = Architecture("gru", 2, 5, 7, 3)
TENSORS = len(ARCHITECTURE.parameter_shapes)
# A server for `fetch`: `mode` says how it answers several ranges, `single` whether it knows one range.
SERVER = """
    const file = new Uint8Array(input.file);
    let requests = 0;
    let cancelled = 0;
    let sent = 0;
    const answer = (status, bytes, headers) => {
        let place = 0;
        const body = new ReadableStream({
            pull(controller) {
                if (place >= bytes.length) return controller.close();
                const chunk = bytes.subarray(place, place + 1000);
                place += chunk.length;
                sent += chunk.length;
                controller.enqueue(chunk);
            },
            cancel() { cancelled += 1; },
        }, { highWaterMark: 0 });
        return new Response(body, { status, headers });
    };
    const server = async (url, { headers }) => {
        requests += 1;
        const ranges = headers.Range.slice("bytes=".length).split(",").map((range) => range.split("-").map(Number));
        const mode = ranges.length > 1 ? input.mode : input.single;
        const [first, last] = mode === "cover"
            ? [Math.min(...ranges.map(([a]) => a)), Math.max(...ranges.map(([, b]) => b))]
            : ranges[0];
        const bytes = file.subarray(first, last + 1);
        if (mode === "whole") return answer(200, file, { "Content-Length": String(file.length) });
        if (mode === "chunked") return answer(200, file, {});
        if (mode === "gone") return answer(404, new Uint8Array(9), {});
        if (mode === "hidden") return answer(206, bytes, {});
        if (mode !== "parts") return answer(206, bytes, { "Content-Range": `bytes ${first}-${last}/${file.length}` });
        const encoder = new TextEncoder();
        const pieces = ranges.flatMap(([a, b]) => [
            encoder.encode(`\\r\\n--=.b\\r\\ncontent-range: BYTES ${a}-${b}/*\\r\\n\\r\\n`), file.subarray(a, b + 1),
        ]);
        const all = [...pieces, encoder.encode("\\r\\n--=.b--\\r\\n")].flatMap((piece) => Array.from(piece));
        return answer(206, new Uint8Array(all), { "Content-Type": 'Multipart/ByteRanges; boundary="=.b"' });
    };
    const plain = async (url, { headers }) => {
        const [first, last] = headers.Range.slice("bytes=".length).split("-").map(Number);
        return new Response(file.subarray(first, last + 1), { status: 206 });
    };
    const header = await safetensors.readHeader("a", plain);
    const found = await failure(() => safetensors.readRow("a", header, input.row, server));
    return { found: typeof found === "string" ? found : found[1], requests, cancelled, sent };
"""


def networks(count):
    return [initial_weights(ARCHITECTURE, 3, run) for run in range(count)]


def read(row, mode, single="range", count=19, file=None):
    data = {"file": list(file or save(stack_weights(networks(count)))), "row": row, "mode": mode, "single": single}
    return javascript(SERVER, data)


def assert_is(found, weights):
    assert set(found) == set(weights)
    assert all(torch.equal(torch.tensor(found[name]), tensor.flatten()) for name, tensor in weights.items())


@pytest.mark.parametrize(
    ("mode", "single", "requests"),
    (
        ("parts", "range", 1),
        ("first", "range", 1 + TENSORS - 1),
        ("cover", "range", 1 + TENSORS),
        ("whole", "range", 1 + TENSORS),
        ("chunked", "hidden", 1 + TENSORS),
    ),
)
def test_one_request_is_enough_and_else_there_is_one_per_tensor(mode, single, requests):
    """`cover` is a server that sends the whole stretch between the first and the last range, most of a shard."""
    found = read(11, mode, single)
    assert_is(found["found"], networks(12)[11])
    assert found["requests"] == requests and found["cancelled"] == (mode in ("cover", "whole", "chunked"))
    assert found["sent"] < 4 * 4 * ARCHITECTURE.num_parameters + 12_000


def test_of_a_shard_with_one_row_neighbouring_ranges_may_come_as_one():
    found = read(0, "cover", count=1)
    assert_is(found["found"], networks(1)[0])
    assert found["requests"] == 1


@pytest.mark.parametrize("mode", ("whole", "chunked"))
def test_a_server_without_ranges_is_refused_before_it_has_sent_a_shard(mode):
    found = read(2, mode, mode, count=97)
    assert found["found"].startswith("Error: The server of a did not send bytes ")
    assert found["found"].endswith("a server that answers range requests is needed, such as the one of rnn-zoos.")
    assert found["sent"] < 4 * 97 * ARCHITECTURE.num_parameters / 3 and found["cancelled"] == found["requests"]


def test_an_error_of_the_server_is_shown():
    assert read(2, "gone")["found"] == "Error: The server answered 404 to a request for bytes of a."


def test_bytes_that_look_like_a_boundary_are_data(tmp_path):
    """With the server of the package, whose boundary is not known beforehand, and with the one above, whose is."""
    weights = networks(2)
    pattern = torch.frombuffer(bytearray(b"\r\n--=.b--\r\n\r\n--" * 16), dtype=torch.float32)
    weights[1]["gru.weight_hh_l0"] = pattern[:49].repeat(3).view(21, 7)
    stacked = stack_weights(weights)
    assert_is(read(1, "parts", file=save(stacked))["found"], weights[1])
    save_file(stacked, tmp_path / "shard.safetensors")
    body = """
        const header = await safetensors.readHeader(input.url);
        return safetensors.readRow(input.url, header, 1);
    """
    with serving(tmp_path) as server:
        assert_is(javascript(body, {"url": f"{server.url}shard.safetensors"}), weights[1])


def test_rows_and_files_that_do_not_fit_are_refused(tmp_path):
    save_file({"a": torch.zeros(3, 2), "b": torch.zeros(3, dtype=torch.uint8)}, tmp_path / "bytes")
    save_file({"a": torch.zeros(3, 2), "b": torch.zeros(4)}, tmp_path / "rows")
    (tmp_path / "other").write_bytes(struct.pack("<Q", 2**40) + b"not a shard")
    body = """
        const header = await safetensors.readHeader(`${input.url}bytes`);
        const errors = ["rows", "other", "nothing"].map((name) =>
            failure(() => safetensors.readHeader(`${input.url}${name}`)),
        );
        const rows = [0, 3, -1, 0.5].map((row) => failure(() => safetensors.readRow("a", header, row)));
        return Promise.all([...errors, ...rows]);
    """
    with serving(tmp_path) as server:
        rows, other, nothing, dtype, *outside = javascript(body, {"url": server.url})
        assert rows == f"Error: The tensors of {server.url}rows do not have the same rows."
        assert other == f"Error: {server.url}other is not a shard of a zoo: its header has {2**40} bytes."
        assert nothing == f"Error: The server answered 404 to a request for bytes of {server.url}nothing."
    assert dtype == "Error: b of a is U8; expected F32."
    for row, error in zip(("3", "-1", "0.5"), outside, strict=True):
        assert error == f"RangeError: The row is {row}; a has the rows 0 to 2."


@pytest.mark.parametrize(
    ("body", "problem"),
    (
        ("--x\r\nContent-Range: bytes 0-2/9\r\n\r\nabc\r\n--x--", None),
        ("--x\r\nContent-Range: bytes 0-3/9\r\n\r\nabc\r\n--x--", "another length"),
        ("--x\r\nContent-Range: bytes 0-2/9\r\n\r\nabc", "another length"),
        ("--x\r\nContent-Type: a/b\r\n\r\nabc\r\n--x--", "without the ranges of its parts"),
        ("--x\r\nContent-Range: lines 0-2/9\r\n\r\nabc\r\n--x--", 'sent the range " lines 0-2/9"'),
        ("abc", "without the ranges of its parts"),
    ),
)
def test_malformed_multipart_answers_are_refused(body, problem):
    script = """
        const bytes = new TextEncoder().encode(input);
        return failure(() => byteranges.parseMultipart(bytes, "multipart/byteranges; boundary=x"));
    """
    found = javascript(script, body)
    if problem is None:
        assert found[1] == [{"start": 0, "bytes": list(b"abc")}]
    else:
        assert problem in found


def test_flat_weights_are_split_as_in_the_package():
    (weights,) = networks(1)
    flat = flatten(ARCHITECTURE, weights)
    body = """
        const split = (flat) => safetensors.splitRow(input.architecture, new Float32Array(flat));
        return [split(input.flat), await failure(() => split(input.flat.slice(1)))];
    """
    found, error = javascript(body, {"architecture": ARCHITECTURE, "flat": flat})
    assert list(found) == list(weights)
    assert_is(found, weights)
    size = ARCHITECTURE.num_parameters
    assert error == f"RangeError: There are {size - 1} flat weights; expected {size}."

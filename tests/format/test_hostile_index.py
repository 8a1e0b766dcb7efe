"""Parquet files that would decode to gigabytes, or lie about what they hold, are refused before they are decoded."""

import struct
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnn_zoos.errors import FormatError
from rnn_zoos.format.index import read_index, write_index
from rnn_zoos.format.pages import decoded_bytes, open_parquet

SCHEMA = pa.schema(
    [pa.field("run", pa.int32(), False), pa.field("task", pa.string(), False), pa.field("ok", pa.bool_(), False)]
)


@contextmanager
def little_memory():
    """Fail if the block uses more than 50 MB at any moment."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins at the present value
    before = peak_megabytes()
    yield
    assert peak_megabytes() - before < 50


def peak_megabytes():
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1e3


def index(path, rows):
    """Write an index as the package does; return its table."""
    columns = [np.arange(rows, dtype=np.int32), [f"b+{row % 7} c-2" for row in range(rows)], np.arange(rows) % 3 == 0]
    table = pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)
    write_index(path, [table], SCHEMA)
    return table


@pytest.mark.parametrize("rows", [0, 1, 7, 100_003])
def test_the_measured_size_is_that_of_the_decoded_table(rows, tmp_path):
    path = tmp_path / "x.parquet"
    table = index(path, rows)
    assert read_index(path, rows=rows) == table
    with open_parquet(path) as file:
        assert 0 <= decoded_bytes(path, file.metadata) - table.nbytes < 64


def test_the_number_of_rows_is_compared_before_anything_is_decoded(tmp_path):
    index(tmp_path / "x.parquet", 11)
    with pytest.raises(FormatError, match="x.parquet has 11 rows; the manifest says 12"):
        read_index(tmp_path / "x.parquet", rows=12)


BOMBS = {
    "a dictionary of one long text": lambda: pa.table(
        {"task": pa.DictionaryArray.from_arrays(np.zeros(10_000, np.int32), ["x" * 50_000])}
    ),
    "a dictionary of numbers": lambda: pa.table({"run": np.zeros(20_000_000, np.int32)}),
    "missing values": lambda: pa.table({"run": pa.nulls(20_000_000, pa.int32())}),
    "lists": lambda: pa.table({"run": pa.array([[1, 2]] * 5)}),
    "structs": lambda: pa.table({"run": pa.array([{"a": {"b": 1}}] * 5)}),
    "a thousand columns": lambda: pa.table({str(number): [number] for number in range(1001)}),
    "many row groups": lambda: pa.table({str(number): np.arange(3000) for number in range(5)}),
    "large metadata": lambda: pa.table({"run": [1]}).replace_schema_metadata({"x": "y" * 1_000_000}),
}
OPTIONS = {
    "a dictionary of one long text": {"store_schema": False},  # read as strings: 500 MB
    "missing values": {"use_dictionary": False},
    "many row groups": {"use_dictionary": False, "row_group_size": 1},
    "large metadata": {"use_dictionary": False},
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_file_that_would_expand_is_refused_without_using_memory(kind, tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(BOMBS[kind](), path, compression="zstd", **OPTIONS.get(kind, {}))
    with (
        little_memory(),
        pytest.raises(FormatError, match=r"x\.parquet.*(expand|dictionary|plain type|columns|footer)"),
    ):
        read_index(path)


@pytest.mark.parametrize(
    "options",
    [{"use_dictionary": True}, {"data_page_version": "2.0"}, {"column_encoding": {"run": "DELTA_BINARY_PACKED"}}],
)
def test_other_encodings_are_refused(options, tmp_path):
    table = index(tmp_path / "plain.parquet", 5000)
    pq.write_table(table, tmp_path / "x.parquet", **{"use_dictionary": False, **options})
    with pytest.raises(FormatError, match="the pages of column 0 are not valid .*Expected plain encoding"):
        read_index(tmp_path / "x.parquet")


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


class Long(int):
    """A 64-bit integer of Thrift."""


WIRE_TYPES = {int: 5, Long: 6, bytes: 8, list: 9, tuple: 12}


def encode(value):
    """Encode an integer, bytes, a list, or a struct (field numbers and values) in Thrift's compact protocol."""
    if isinstance(value, int):
        return varint(value << 1)
    if isinstance(value, bytes):
        return varint(len(value)) + value
    if isinstance(value, list):
        wire = WIRE_TYPES[type(value[0])] if value else WIRE_TYPES[tuple]
        return bytes([0xF0 | wire]) + varint(len(value)) + b"".join(map(encode, value))
    out, last = b"", 0
    for number, field in value:
        out += bytes([number - last << 4 | WIRE_TYPES[type(field)]]) + encode(field)
        last = number
    return out + b"\0"


def write_parquet(path, schema, groups, rows, pages=b""):
    """Write a parquet file with a footer of one's own; each node of the schema is a struct."""
    footer = encode(((1, 2), (2, schema), (3, Long(rows)), (4, groups)))
    path.write_bytes(b"PAR1" + pages + footer + struct.pack("<I", len(footer)) + b"PAR1")


ROOT, NUMBER = ((4, b"schema"), (5, 1)), ((1, 1), (3, 0), (4, b"run"))  # one required column of 32-bit integers


@pytest.mark.parametrize("depth", [50, 200, 5000, 100_000])
def test_a_deeply_nested_schema_is_refused(depth, tmp_path):
    write_parquet(tmp_path / "x.parquet", [ROOT, *[((3, 0), (4, b"a"), (5, 1))] * depth, NUMBER], [], 0)
    with little_memory(), pytest.raises(FormatError, match="x.parquet"):
        read_index(tmp_path / "x.parquet")


def group_of(pages, rows, **claims):
    """Return a row group with one column, whose pages begin after the first 4 bytes of the file."""
    claims = {"offset": 4, "size": len(pages), "values": rows, **claims}
    sizes = (5, Long(claims["values"])), (6, Long(claims["size"])), (7, Long(claims["size"]))
    column = ((1, 1), (2, [0]), (3, [b"run"]), (4, claims.get("codec", 0)), *sizes, (9, Long(claims["offset"])))
    return ((1, [((2, Long(0)), (3, column))]), (2, Long(claims["size"])), (3, Long(rows)))


def page(values, size=None, compressed=None, kind=0, encoding=0, data=b""):
    """Return a page, by default one of plain 32-bit integers."""
    size = len(data) if size is None else size
    compressed = len(data) if compressed is None else compressed
    return encode(((1, kind), (2, size), (3, compressed), (5, ((1, values), (2, encoding), (3, 3), (4, 3))))) + data


PLAIN = page(5, data=struct.pack("<5i", 3, 1, 4, 1, 5))
DICTIONARY = encode(((1, 2), (2, 4), (3, 4), (7, ((1, 1), (2, 0))))) + struct.pack("<i", 7)
REPEATED = page(10**8, encoding=8, data=b"\1" + varint(10**8 << 1) + b"\0")  # one run of 10^8 times the first entry
LIES = {
    "a dictionary that the footer does not mention": (DICTIONARY + REPEATED, 10**8, {}),
    "a page of 2 GB": (page(5, size=2**31 - 1, data=b"\0" * 20), 5, {}),
    "more values than bytes": (page(10**8, data=b"\0" * 20), 10**8, {}),
    "more rows than values": (PLAIN, 10**8, {}),
    "more rows than the footer allows": (PLAIN, 2**62, {}),
    "fewer values than rows": (PLAIN, 6, {}),
    "a chunk that ends within a page": (PLAIN, 5, {"size": len(PLAIN) - 1}),
    "a chunk beyond the file": (PLAIN, 5, {"size": 2**62}),
    "a chunk before the file": (PLAIN, 5, {"offset": 2**63}),
    "a page that ends beyond its chunk": (page(5, compressed=2**30, data=b"\0" * 20), 5, {}),
    "a header of structs": (b"\x1c" * 60_000, 5, {}),
    "a header without end": (b"\x15" + b"\xff" * 60_000, 5, {}),
}


def test_a_file_made_by_hand_is_read(tmp_path):
    write_parquet(tmp_path / "x.parquet", [ROOT, NUMBER], [group_of(PLAIN, 5)], 5, PLAIN)
    assert read_index(tmp_path / "x.parquet", rows=5).to_pydict() == {"run": [3, 1, 4, 1, 5]}


@pytest.mark.parametrize("kind", LIES)
def test_a_file_that_lies_about_its_pages_is_refused_without_using_memory(kind, tmp_path):
    pages, rows, claims = LIES[kind]
    write_parquet(tmp_path / "x.parquet", [ROOT, NUMBER], [group_of(pages, rows, **claims)], rows, pages)
    with little_memory(), pytest.raises(FormatError, match="x.parquet"):
        read_index(tmp_path / "x.parquet")


def test_chunks_that_overlap_and_rows_that_no_group_has_are_refused(tmp_path):
    path = tmp_path / "x.parquet"
    write_parquet(path, [ROOT, NUMBER], [group_of(PLAIN, 5)] * 500, 2500, PLAIN)
    with pytest.raises(FormatError, match="x.parquet: the pages of column 0 .*overlap"):
        read_index(path)
    write_parquet(path, [ROOT, NUMBER], [group_of(PLAIN, 5)], 7, PLAIN)
    with pytest.raises(FormatError, match="x.parquet declares 7 rows; its row groups have 5"):
        read_index(path)


def test_text_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    table = pa.table({"task": pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())})
    pq.write_table(table, path, use_dictionary=False, write_statistics=False)
    with pytest.raises(FormatError, match="x.parquet is not a readable parquet index"):
        read_index(path)


def test_random_changes_of_an_index_never_raise_anything_else(tmp_path):
    path, random = tmp_path / "x.parquet", np.random.default_rng(5)
    table = index(path, 19)
    whole, intact = path.read_bytes(), 0
    for place, change in zip(random.integers(len(whole), size=300), random.integers(1, 256, size=300), strict=True):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ int(change)]) + whole[place + 1 :])
        try:
            intact += read_index(path, rows=19).num_rows == table.num_rows
        except FormatError:
            continue
    assert 0 < intact < 300

"""The explorer's automata, rotations and tiles are those of the package."""

import random

import numpy as np
import pytest
import torch
from explorer import javascript

from rnn_zoos.families.automata import Automata
from rnn_zoos.families.digit_inputs import MICRODEGREES, tile_inputs
from rnn_zoos.families.digits import load_digits
from rnn_zoos.families.named_automata import NAMED, automaton_of
from rnn_zoos.families.rotation import PIXELS, rotation_table
from rnn_zoos.loaders.explorer.page import build_page
from rnn_zoos.loaders.zoo import open_zoo

ANGLES = [0.0, 30.0, 45.0, 60.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0, 359.999999, 1e-6, -0.25, -90.0, 450.0, 721.5]


def test_positive_numbers_of_very_different_sizes_have_a_logarithmic_scale():
    body = """
        const found = input.map((values) => scales.scaleOf(values.map((value) => value ?? NaN)));
        return found.map(({ place, ends, ticks }) => [place(100), ...ends, ticks.tickvals ?? [], ticks.ticktext ?? []]);
    """
    wide, just, narrow, zero, negative, none, huge = javascript(
        body, [[3, None, 0.0002, 2], [0.5, 500], [0.5, 499], [0, 1e9], [-1, 1e9], [None], [0.05, 7e32]]
    )
    ends = [pytest.approx(np.log10(number)) for number in (0.0002, 3, 0.5, 500, 0.05, 7e32)]
    assert wide == [2, *ends[:2], [-3, -2, -1, 0], ["0.001", "0.01", "0.1", "1"]]
    assert just == [2, *ends[2:4], [0, 1, 2], ["1", "10", "100"]]
    assert [narrow, zero, negative, none] == [[100, *e, [], []] for e in ((0.5, 499), (0, 1e9), (-1, 1e9), (0, 1))]
    powers = [f"10<sup>{power}</sup>" for power in (9, 14, 19, 24, 29)]
    assert huge == [2, *ends[4:], [-1, 4, 9, 14, 19, 24, 29], ["0.1", "10,000", *powers]]


def test_rotation_tables_are_those_of_the_package():
    drawn = random.Random(3)
    angles = [*ANGLES, *(drawn.randrange(360 * MICRODEGREES) / MICRODEGREES for _ in range(600))]
    found = javascript("return input.map(digits.rotationTable);", angles)
    for angle, table in zip(angles, found, strict=True):
        assert table == rotation_table(angle).tolist(), angle


@pytest.mark.parametrize("angle", (0.0, 37.250001, 270.0))
def test_tiles_are_those_of_the_package_bit_for_bit(angle):
    images = load_digits("embedded").images[17:20].clone()
    images[0, :PIXELS] = torch.arange(PIXELS) % 256  # every value, and no two tiles alike
    body = """
        const table = digits.rotationTable(input.angle);
        return input.images.map((pixels) => digits.tileInputs(new Uint8Array(pixels), table));
    """
    found = javascript(body, {"images": images[:, :PIXELS].tolist(), "angle": angle})
    expected = tile_inputs(images, rotation_table(angle))
    assert torch.equal(torch.tensor(found).view(expected.shape), expected)


def test_automata_are_parsed_and_walked_as_in_the_package():
    tasks = [*range(len(NAMED)), 14, 65, 1234567, 2**32 - 1]
    automata = [automaton_of(task) for task in tasks]
    generator = torch.Generator().manual_seed(4)
    strings = [torch.randint(automaton.num_symbols, (5, 41), generator=generator) for automaton in automata]
    body = """
        return input.map(({ row, strings }) => {
            const automaton = automata.parseAutomaton(row);
            return [automaton, strings.map((one) => [automata.walk(automaton, one), automata.answers(automaton, one)])];
        });
    """
    rows = [Automata().task_values(task) for task in tasks]
    data = [{"row": row, "strings": some.tolist()} for row, some in zip(rows, strings, strict=True)]
    for automaton, some, (parsed, results) in zip(automata, strings, javascript(body, data), strict=True):
        assert parsed["transitions"] == [list(row) for row in automaton.transitions]
        assert parsed["accepting"] == list(automaton.accepting)
        assert [states for states, _ in results] == automaton.walk(some).tolist()
        assert [answers for _, answers in results] == automaton.answers(some).tolist()


def test_of_a_typed_text_only_the_symbols_of_the_automaton_are_read():
    texts = ["0 1", " ", "", "01x2\t3\n-1", "1.5e3", "\u0661\uff11 10", "4 5"]
    body = "return input.map((text) => [automata.symbolsOf(text, 2), automata.symbolsOf(text, 4)]);"
    found = javascript(body, texts)
    assert found == [
        [[0, 1], [0, 1]],
        [[], []],
        [[], []],
        [[0, 1, 1], [0, 1, 2, 3, 1]],
        [[1], [1, 3]],
        [[1, 0], [1, 0]],
        [[], []],
    ]


@pytest.mark.parametrize(("name", "column"), [("sequential-mnist", "angle"), ("automata", "automaton")])
def test_the_page_reads_columns_with_all_their_digits(name, column, zoo):
    """An angle that was rounded to float32 would turn single pixels to another place."""
    opened = open_zoo(zoo(name))
    page = build_page(opened, 0)
    body = """
        (0, eval)(input);
        const data = new dataset.Dataset(await dataset.readEntry("zoo"));
        return Object.fromEntries([...data.columns].map(([name, column]) => [name, column.values]));
    """
    found = javascript(body, page.files["data/zoo.js"].decode())
    index = opened.index()
    assert len(index) % 2 and found[column] == index[column].to_pylist()
    numbers = [own for own, described in opened.manifest.columns.items() if described["dtype"][:3] in ("int", "flo")]
    assert all(found[own] == index[own].to_pylist() for own in numbers)


def test_texts_that_are_no_automata_are_refused():
    body = """
        const parse = (transitions, accepting) => failure(() => automata.parseAutomaton({ transitions, accepting }));
        const parity = automata.parseAutomaton({ transitions: "0 1 | 1 0", accepting: "" });
        return Promise.all([
            parse("0 1 | 1 2", "0"),
            parse("0 1 | x 0", "0"),
            parse("0 1 | 1", "0"),
            parse("0 1 | 1 0", "2"),
            failure(() => automata.walk(parity, [0, 2])),
            parity.accepting.includes(true),
        ]);
    """
    outside, word, ragged, accepting, symbol, accepts = javascript(body)
    assert outside == 'RangeError: The states are " 1 2"; expected numbers from 0 to 1.'
    assert word == 'RangeError: The states are " x 0"; expected numbers from 0 to 1.'
    assert ragged.startswith('RangeError: The transitions are "0 1 | 1"; expected the same number')
    assert accepting == 'RangeError: The states are "2"; expected numbers from 0 to 1.'
    assert symbol == "RangeError: The automaton has no symbol 2." and accepts is False

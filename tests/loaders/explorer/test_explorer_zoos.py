"""The explorer shows of a zoo what the package reads and computes: weights, strings, classes, answers."""

import pytest
import torch
from conftest import ROOT
from explorer import javascript, serving

from rnn_zoos import open_zoo
from rnn_zoos.families.automaton import LENGTH
from rnn_zoos.families.digits import load_digits
from rnn_zoos.families.rotation import PIXELS
from rnn_zoos.loaders import sample_network
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork


def largest_difference(a, b):
    return float((a.double() - b.double()).abs().max())


@pytest.mark.parametrize(
    ("name", "cell"), (("formal-languages", "lstm"), ("sequential-mnist", "gru"), ("automata", "rnn"))
)
def test_rows_of_shards_are_read_by_one_request_each_and_run_as_in_torch(name, cell, zoo):
    directory = zoo(name, cell)
    opened = open_zoo(directory)
    rows = opened.index().to_pylist()[:: 4 if name == "formal-languages" else 7]
    weights = [opened.weights(row) for row in rows]
    architecture = Architecture.of(weights[0])
    inputs = torch.randn(41, architecture.input_size, generator=torch.Generator().manual_seed(5))
    body = """
        let requests = 0;
        const counted = (...request) => { requests += 1; return fetch(...request); };
        const found = [];
        for (const { url, row } of input.places) {
            const header = await safetensors.readHeader(url, counted);
            const before = requests;
            const tensors = await safetensors.readRow(url, header, row, counted);
            const made = new network.Network(input.architecture, tensors);
            const { logits } = made.run(new Float32Array(input.inputs), 41);
            found.push({ tensors, logits, requests: requests - before });
        }
        return found;
    """
    with serving(ROOT / "docs", directory) as server:
        urls = [f"{server.url}zoo/{opened.manifest.paths('shards', row['split'])[row['shard']]}" for row in rows]
        places = [{"url": url, "row": row["row"]} for url, row in zip(urls, rows, strict=True)]
        found = javascript(body, {"places": places, "architecture": architecture, "inputs": inputs})
    for one, expected in zip(found, weights, strict=True):
        assert one["requests"] == 1 and set(one["tensors"]) == set(expected)
        for tensor_name, tensor in expected.items():
            assert torch.equal(torch.tensor(one["tensors"][tensor_name]), tensor.flatten()), tensor_name
        with torch.no_grad():
            logits = RecurrentNetwork(architecture, expected)(inputs[None])
        assert largest_difference(torch.tensor(one["logits"]), logits.flatten()) < 1e-5


def test_digits_get_the_classes_that_sample_shows(zoo):
    directory, count = zoo("sequential-mnist", "gru"), 6
    opened, digits = open_zoo(directory), load_digits("embedded")
    rows = [row for row in opened.index().to_pylist() if row["step"] == 8]
    body = """
        return input.rows.map(({ weights, angle }) => {
            const made = new network.Network(input.architecture, floats(weights));
            const table = digits.rotationTable(angle);
            return input.images.map((pixels) => {
                const { logits } = made.run(digits.tileInputs(new Uint8Array(pixels), table), digits.STEPS);
                return network.softmax(logits.slice(-10));
            });
        });
    """
    made = [{"weights": opened.weights(row), "angle": row["angle"]} for row in rows]
    images = digits.images[digits.validation[:count], :PIXELS].tolist()
    data = {"architecture": Architecture.of(made[0]["weights"]), "rows": made, "images": images}
    for row, found in zip(rows, javascript(body, data), strict=True):
        _, shown = sample_network(directory, row["run"], row["step"], count)
        for line, probabilities in zip(shown, found, strict=True):
            assert probabilities.index(max(probabilities)) == line["named"]
            assert max(probabilities) == pytest.approx(line["probability"], abs=1e-6)


def offsets_of(row):
    return [row[f"m_{letter}"] for letter in "bcd"]


def test_the_strings_of_a_network_are_those_that_sample_shows(zoo):
    directory, count = zoo("formal-languages", "lstm"), 9
    opened = open_zoo(directory)
    rows = [row for row in opened.index().to_pylist() if row["step"] != 2]
    body = """
        return input.rows.map(({ weights, run, step, offsets }) => {
            const made = new network.Network(input.architecture, floats(weights));
            const place = { seed: input.seed, run, step, count: input.count };
            return languages.sampleStrings(made, place).map((sequence) => {
                const verdict = languages.judge(sequence, offsets);
                return [languages.asText(sequence) || "(empty)", verdict.accepted, languages.fault(verdict)];
            });
        });
    """
    places = [
        {"weights": opened.weights(row), "run": row["run"], "step": row["step"], "offsets": offsets_of(row)}
        for row in rows
    ]
    architecture = Architecture.of(places[0]["weights"])
    data = {"architecture": architecture, "rows": places, "seed": opened.manifest.seed, "count": count}
    for row, strings in zip(rows, javascript(body, data), strict=True):
        _, shown = sample_network(directory, row["run"], row["step"], count)
        expected = [[line["string"], line["verdict"] == "right", line["fault"]] for line in shown]
        assert strings == expected


def test_random_strings_and_answers_are_those_that_sample_shows(zoo):
    directory, count = zoo("automata", "rnn"), 5
    opened = open_zoo(directory)
    rows = [row for row in opened.index().to_pylist() if row["step"] == 9]
    body = """
        const size = input.architecture.output_size;
        return input.rows.map(({ weights, row }) => {
            const made = new network.Network(input.architecture, floats(weights));
            const automaton = automata.parseAutomaton(row);
            const stream = { seed: input.seed, run: row.run, purpose: philox.Purpose.ROLLOUTS, counter: 0 };
            return automata.randomStrings(automaton, stream, input.count).map((symbols) => {
                const { logits } = made.runSymbols(symbols);
                const said = Array.from(symbols, (_, t) => logits[size * t + 1] > logits[size * t]);
                const right = automata.answers(automaton, symbols);
                return [symbols, said, said.filter((answer, t) => answer !== right[t]).length];
            });
        });
    """
    made = [{"weights": opened.weights(row), "row": row} for row in rows]
    architecture = Architecture.of(made[0]["weights"])
    data = {"architecture": architecture, "rows": made, "seed": opened.manifest.seed, "count": count}
    for row, results in zip(rows, javascript(body, data), strict=True):
        _, shown = sample_network(directory, row["run"], row["step"], count)
        for line, (symbols, said, wrong) in zip(shown, results, strict=True):
            assert line["string"] == "".join(map(str, symbols)) and len(symbols) == LENGTH
            assert line["answers (+: accepted)"] == "".join("+" if answer else "-" for answer in said)
            assert line["wrong"] == wrong

"""The explorer shows of a zoo what the package reads and computes: weights, strings, classes, answers."""

from explorer import javascript

from rnn_zoos import open_zoo
from rnn_zoos.families.automaton import LENGTH
from rnn_zoos.loaders import sample_network
from rnn_zoos.networks.architecture import Architecture


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
        expected = [[line["string"], line[""] == "right", line["fault"]] for line in shown]
        assert strings == expected


def offsets_of(row):
    return [row[f"m_{letter}"] for letter in "bcd"]


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

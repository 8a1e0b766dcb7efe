"""Code in the documents and in docstrings runs, on tiny zoos; commands have the options that they are shown with."""

import contextlib
import doctest
import importlib
import inspect
import io
import re
import shutil
from collections.abc import Iterator

import pytest
import typer
from conftest import ROOT
from documents import CONTRIBUTING, DOCUMENTS, code_blocks, inline_commands, make_zoos, shell_commands
from typer.testing import CliRunner

from rnn_zoos.cli.app import app

PACKAGES = (
    "rnn_zoos",
    "rnn_zoos.loaders",
    "rnn_zoos.generation",
    "rnn_zoos.baselines",
    "rnn_zoos.symmetry",
)
COMMANDS = typer.main.get_command(app)
CHEAP = ("check", "export", "info", "leaderboard", "plan", "plot", "sample")
"""Commands of the documents that are run; of the others only the options are compared with the command's own."""
SHELL_TEXTS = {**DOCUMENTS, "CONTRIBUTING.md": CONTRIBUTING}


@pytest.fixture(scope="session")
def zoos(tmp_path_factory):
    """A folder with zoos/formal-languages and zoos/sequential-mnist."""
    return make_zoos(tmp_path_factory.mktemp("documents"))


@pytest.fixture
def here(zoos, tmp_path, monkeypatch):
    """An empty working directory with copies of both zoos, and the benchmark's results as `results`."""
    shutil.copytree(zoos / "zoos", tmp_path / "zoos")
    (tmp_path / "results").symlink_to(ROOT / "baselines" / "results" / "cpu")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", [path for path, text in DOCUMENTS.items() if code_blocks(text, "python")])
def test_the_python_of_a_document_runs_from_top_to_bottom(path, here):
    """One namespace per document. Small networks are not accurate, so conditions on accuracy are relaxed."""
    namespace = {"__name__": "__main__"}
    for block in code_blocks(DOCUMENTS[path], "python"):
        block = re.sub(r'\("accuracy", ">", [0-9.]+\)', '("accuracy", ">=", 0)', block)
        exec(compile(block, path, "exec"), namespace)


def test_the_first_example_of_the_readme_has_at_most_eight_lines():
    first = code_blocks(DOCUMENTS["README.md"], "python")[0]
    assert len([line for line in first.splitlines() if line]) <= 8


def is_group(command) -> bool:
    return hasattr(command, "commands")


def subcommand(words: list[str]):
    """Return the command that the words after `rnn-zoos` name, and its arguments."""
    command, rest = COMMANDS, list(words)
    while is_group(command) and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    assert not is_group(command), f"unknown command: rnn-zoos {' '.join(words)}"
    return command, rest


def options_of(command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts} | {"--help"}


SHOWN = [(path, words) for path, text in SHELL_TEXTS.items() for words in shell_commands(text)]


@pytest.mark.parametrize(
    ("path", "words"),
    [pytest.param(path, words, id=f"{path}: {' '.join(words)}") for path, words in SHOWN if words[0] == "rnn-zoos"],
)
def test_a_command_shown_in_a_document_is_valid_and_runs_if_it_is_cheap(path, words, here):
    command, arguments = subcommand(words[1:])
    if arguments != ["--help"]:
        command.make_context(command.name, list(arguments))
    if command.name in CHEAP:
        shown = CliRunner().invoke(app, words[1:])
        assert shown.exit_code == 0, shown.output


@pytest.mark.parametrize("path", SHELL_TEXTS)
def test_every_option_named_in_running_text_exists(path):
    for words in inline_commands(SHELL_TEXTS[path]):
        if words[1] == "COMMAND" or words[1].startswith("-"):
            continue
        command, arguments = subcommand(words[1:])
        options = {word.partition("=")[0] for word in arguments if word.startswith("--")}
        assert options <= options_of(command), f"{path}: {' '.join(words)}"


@pytest.mark.parametrize("path", SHELL_TEXTS)
def test_every_script_shown_in_a_document_exists_and_knows_its_options(path):
    """Options that run.sh and slurm.sh do not have themselves go to `rnn-zoos generate`; release.sh has a command."""
    for words in shell_commands(SHELL_TEXTS[path]):
        script = next((word for word in words if re.fullmatch(r"(generation|tests|docs|\.ci)/[\w.]+", word)), None)
        if script is None:
            continue
        assert (ROOT / script).is_file(), f"{path}: {' '.join(words)}"
        if not script.startswith("generation/"):
            continue
        given = {word.partition("=")[0] for word in words[words.index(script) :] if word.startswith("--")}
        if script == "generation/check_gpu.py":
            assert given <= set(re.findall(r"--[a-z-]+", (ROOT / "rnn_zoos/cli/gpu.py").read_text()))
            continue
        passed_on, _ = subcommand(["release" if script == "generation/release.sh" else "generate"])
        assert given <= options_of(passed_on) | set(re.findall(r"--[a-z-]+", (ROOT / script).read_text()))


def test_every_command_is_documented_and_no_other():
    named = {
        " ".join(words[1:3] if words[1] == "speed" else words[1:2])
        for text in DOCUMENTS.values()
        for words in [*inline_commands(text), *(words for words in shell_commands(text) if words[0] == "rnn-zoos")]
        if len(words) > 1 and words[1] != "COMMAND" and not words[1].startswith("-")
    }
    known = {name for name, command in COMMANDS.commands.items() if not is_group(command)}
    known |= {f"speed {name}" for name in COMMANDS.commands["speed"].commands}
    assert named == known


@pytest.mark.parametrize("path", [*DOCUMENTS, "CONTRIBUTING.md", "CHANGELOG.md", "DATASET_CARD.md"])
def test_every_relative_link_of_a_document_leads_to_a_file(path):
    text = re.sub(r"```.*?```", "", (ROOT / path).read_text(), flags=re.S)
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert ((ROOT / path).parent / link).exists(), f"{path}: {link}"


def public_docstrings() -> Iterator[tuple[str, str]]:
    """Yield the full name and docstring of every public name, and of the public methods of the classes among them."""
    seen = set()
    for package in PACKAGES:
        for name in importlib.import_module(package).__all__:
            value = getattr(importlib.import_module(package), name)
            if id(value) in seen or not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            seen.add(id(value))
            yield f"{package}.{name}", value.__doc__ or ""
            for attribute, member in vars(value).items() if inspect.isclass(value) else ():
                function = getattr(member, "fget", None) or getattr(member, "__func__", member)
                if not attribute.startswith("_") and inspect.isfunction(function):
                    yield f"{package}.{name}.{attribute}", function.__doc__ or ""


DOCSTRINGS = dict(public_docstrings())
PARSER = doctest.DocTestParser()


@pytest.mark.parametrize("name", [name for name, text in DOCSTRINGS.items() if ">>>" in text])
def test_the_example_of_a_docstring_runs(name, here):
    """Output is compared where an example shows some; lines marked `# doctest: +SKIP` are compiled only."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for example in PARSER.get_examples(DOCSTRINGS[name]):
        code = compile(example.source, name, "single")
        if example.options.get(doctest.SKIP):
            continue
        shown = run_example(code, namespace)
        if example.want:
            assert doctest.OutputChecker().check_output(example.want, shown, doctest.ELLIPSIS), f"{name}: {shown}"


def run_example(code, namespace) -> str:
    """Run one statement as the interactive interpreter does, and return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    return printed.getvalue()


@pytest.mark.parametrize("name", DOCSTRINGS)
def test_a_public_name_documents_its_parameters_and_shows_an_example(name):
    """Methods may refer to another one ("See `...`"), and need no example: that of the class may show them."""
    package = next(package for package in sorted(PACKAGES, reverse=True) if name.startswith(f"{package}."))
    attributes, value, text = (
        name.removeprefix(f"{package}.").split("."),
        importlib.import_module(package),
        DOCSTRINGS[name],
    )
    for attribute in attributes:
        value = getattr(value, attribute)
    parameters = inspect.signature(value).parameters.keys() - {"self", "cls"} if inspect.isfunction(value) else ()
    assert text.strip()
    assert not parameters or "Args:" in text or "See `" in text, "no Args"
    assert len(attributes) > 1 or "Example:" in text, "no Example"


def test_the_reference_shows_every_public_name_once():
    for package in PACKAGES:
        page = DOCUMENTS[f"docs/api/{package.rpartition('.')[2]}.md"]
        for name in importlib.import_module(package).__all__:
            shown = [
                text for text in DOCUMENTS.values() if re.search(rf"^::: {re.escape(package)}\.{name}$", text, re.M)
            ]
            assert len(shown) <= 1 and (shown == [page] or f"`{name}`" in page), f"{package}.{name}"


def test_the_names_that_extending_mentions_are_in_the_files_that_it_links_to():
    """Constants such as `GATES`: in a file that the same list item or table row links to."""
    page = DOCUMENTS["docs/extending.md"]
    checked = 0
    for item in re.split(r"\n(?=\d+\. |\| |\n)", re.sub(r"```.*?```", "", page, flags=re.S)):
        linked = [ROOT / "docs" / link for link in re.findall(r"\]\(([^)#]+\.(?:py|h))\)", item)]
        for name in re.findall(r"`(_?[A-Z][A-Z_]{3,})`", item) if linked else ():
            assert any(name in path.read_text() for path in linked), f"{name}: {item}"
            checked += 1
    assert checked >= 10

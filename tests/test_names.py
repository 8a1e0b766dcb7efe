"""The public names: listed consistently, imported at first use, documented; and the deprecated places of some."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("rnn_zoos", "rnn_zoos.generation", "rnn_zoos.loaders", "rnn_zoos.baselines", "rnn_zoos.symmetry")
MOVED = (
    ("rnn_zoos.weights", "rnn_zoos", ("flatten", "unflatten", "stack_weights", "unstack_weights")),
    ("rnn_zoos.baselines.encoder", "rnn_zoos.baselines", ("Encoder", "FeatureEncoder")),
    ("rnn_zoos.baselines.registry", "rnn_zoos.baselines", ("ENCODERS", "embeddings_of", "make_encoder")),
)


def public_names():
    """Return (package, name) for every public function and class; constants are in upper case or `__version__`."""
    names = [(package, name) for package in PACKAGES for name in importlib.import_module(package).__all__]
    return [(package, name) for package, name in names if not name.isupper() and not name.startswith("_")]


def syntax_tree(package):
    return ast.parse(Path(importlib.import_module(package).__file__).read_text(encoding="utf-8"))


def imports_for_type_checkers(tree):
    """Return (module, name) for every import under `if TYPE_CHECKING:`."""
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [statement for block in blocks for statement in block.body]
    return [(statement.module, alias.name) for statement in imports for alias in statement.names]


def lazy_table(tree):
    """Return (module, name) for every name in the call of `lazy_names`."""
    (call,) = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_names")
    return [(module, name) for module, names in ast.literal_eval(call.args[1]).items() for name in names]


def names_bound_at_import(tree):
    """Return the public names and dunder names that the package itself imports or assigns."""
    names = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    names |= {ast.unparse(target) for node in tree.body if isinstance(node, ast.Assign) for target in node.targets}
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_all_the_lazy_table_and_the_type_checking_imports_list_the_same_names(package):
    tree, listed = syntax_tree(package), importlib.import_module(package).__all__
    table = lazy_table(tree)
    lazy = [name for _, name in table]
    assert sorted(imports_for_type_checkers(tree)) == sorted(table)
    assert len(set(listed)) == len(listed) and len(set(lazy)) == len(lazy)
    assert set(lazy) <= set(listed)
    assert set(listed) - set(lazy) <= names_bound_at_import(tree)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_resolves_and_is_in_dir(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None, name
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_has_a_public_name_of_its_package(package):
    """Importing such a module would set the package's attribute to the module, and hide the public object."""
    module = importlib.import_module(package)
    assert not {found.name for found in pkgutil.iter_modules(module.__path__)} & set(module.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_raises_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'unknown_name'"):
        importlib.import_module(package).unknown_name  # noqa: B018
    with pytest.raises(ImportError):
        exec(f"from {package} import unknown_name")


@pytest.mark.parametrize(("module", "new", "names"), MOVED, ids=[module for module, _, _ in MOVED])
def test_a_deprecated_module_gives_the_same_objects_and_names_the_new_place(module, new, names):
    old = importlib.import_module(module)
    for name in names:
        with pytest.warns(DeprecationWarning, match=f"^{module} is deprecated .* import {name} from {new} instead"):
            assert getattr(old, name) is getattr(importlib.import_module(new), name)
    with pytest.raises(AttributeError):
        old.unknown_name  # noqa: B018


def test_importing_rnn_zoos_imports_only_its_errors_and_lazy_names():
    assert modules_after_import("rnn_zoos") == ["rnn_zoos.errors", "rnn_zoos.lazy"]


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_neither_torch_nor_datasets(package):
    assert not [name for name in modules_after_import(package) if not name.startswith("rnn_zoos.")]


def modules_after_import(package):
    """Return which modules of rnn_zoos, torch and datasets a fresh interpreter has imported after `import package`."""
    kept = "[m for m in sys.modules if m.startswith(('rnn_zoos.', 'torch', 'datasets'))]"
    script = f"import sys, {package}; print(*sorted({kept}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def sections(documented):
    """Return section title -> its text for a Google-style docstring; the text before the first section is `""`."""
    parts = re.split(r"^(\w+):\n(?=    \S)", inspect.getdoc(documented) or "", flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def entries(text):
    """Return the names that a section describes, without the stars of `*args`."""
    return set(re.findall(r"^    \*{0,2}(\w+)(?: \([^)]*\))?: \S", text, flags=re.MULTILINE))


def parameters(function):
    return {name for name in inspect.signature(function).parameters if name not in ("self", "cls")}


def undocumented(function):
    """Yield what the docstring of a function lacks."""
    found = sections(function)
    if not found[""].strip():
        yield "a summary"
    yield from (f"Args: {name}" for name in sorted(parameters(function) - entries(found.get("Args", ""))))
    returns = inspect.signature(function).return_annotation
    if returns not in (None, "None", "NoReturn", inspect.Signature.empty) and not found.keys() & {"Returns", "Yields"}:
        yield "Returns"


def public_methods(cls):
    """Yield the functions behind the public methods that a class defines itself."""
    for name, value in vars(cls).items():
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if inspect.isfunction(function) and not name.startswith("_"):
            yield function


def has_own_init(cls):
    return inspect.isfunction(vars(cls).get("__init__")) and not getattr(cls, "_is_protocol", False)


@pytest.mark.parametrize(("package", "name"), public_names())
def test_every_public_function_and_class_has_a_complete_docstring(package, name):
    """A summary, an example, every parameter, and the result; for a class also of its methods."""
    public = getattr(importlib.import_module(package), name)
    found = sections(public)
    missing = [] if ">>> " in found.get("Example", "") else ["Example"]
    if inspect.isfunction(public):
        missing += undocumented(public)
    else:
        described = entries(found.get("Args", "")) | entries(found.get("Attributes", ""))
        if has_own_init(public):
            missing += [f"Args or Attributes: {name}" for name in sorted(parameters(public.__init__) - described)]
        missing += [f"{method.__name__}: {lack}" for method in public_methods(public) for lack in undocumented(method)]
    assert not missing

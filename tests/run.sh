#!/usr/bin/env bash
# Installs rnn-zoos with its test dependencies, then checks style, types, import rules, documentation and behaviour.
# Arguments go to pytest, for example: -k rotation, -m "not slow", -m long, -n 0 (one file of tests after the other).
set -euo pipefail
cd "$(dirname "$0")/.."
. generation/environment.sh
prepare_environment test

ruff check .
ruff format --check .
# generation/, loaders/ and baselines/ become parts of rnn_zoos only by installation, so mypy, lint-imports and mkdocs need
# a copy in which they are. It is not installed: that would compile the native code once more.
rm -rf build && mkdir -p build/types
cp -r pyproject.toml rnn_zoos build/types/
cp -r generation loaders baselines build/types/rnn_zoos/
(cd build/types && mypy -p rnn_zoos && PYTHONPATH=. lint-imports --no-logo)
# The site: a broken link, anchor or reference is a warning, and fails. Not --quiet: that would hide warnings from --strict.
NO_MKDOCS_2_WARNING=1 mkdocs build --strict >build/site.log 2>&1 || { cat build/site.log; exit 1; }
# Files of tests run side by side, one on each of two cores: most tests wait for processes that they started. In their
# own order, because files with few tests, which would come last, are among the slowest.
python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"

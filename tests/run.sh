#!/usr/bin/env bash
# Sets up, then checks style, types and behaviour. Options go to pytest: tests/run.sh -k rotation, -m "not slow", -m long.
set -euo pipefail
cd "$(dirname "$0")/.."
. generation/environment.sh
prepare_environment test

ruff check .
ruff format --check .
# The four folders get their import names only by installation: types and import rules are checked on an installed copy.
rm -rf build/types
python -m pip install --quiet --disable-pip-version-check --no-deps --target build/types .
cp pyproject.toml build/types/
(cd build/types && mypy -p rnn_zoos && PYTHONPATH=. lint-imports --no-logo)
python -m pytest "$@"

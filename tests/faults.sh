#!/usr/bin/env bash
# Injects many faults into running generations, where CI injects a few, and prints the counts of what happened.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: tests/faults.sh [TIMES] [PYTEST OPTIONS]

Kills the driver and workers with SIGKILL, TIMES times each (default: 50), at random times. Other faults are injected
less often: full disks, Ctrl-C, SIGTERM, hanging workers, two generators in one directory, jumping clocks, lost Ray
nodes. Before, tests/sanitize.sh checks the native code with sanitizers. TIMES 50 takes about half an hour on 2 cores.

Environment variables:
  FAULTS_JSON=FILE        write the counts to this file
  RNN_ZOOS_FAULT_SEED=N   repeat the random times of an earlier run, which printed its seed

Examples:
  tests/faults.sh
  FAULTS_JSON=faults.json tests/faults.sh 10 -k "driver or worker"
TEXT
}

case ${1:-} in --help | -h) usage; exit 0 ;; esac
times=50
case ${1:-} in [0-9]*) times=$1; shift ;; esac
cd "$(dirname "$0")/.."
. generation/environment.sh
prepare_environment test
tests/sanitize.sh -q
RNN_ZOOS_FAULTS=$times RNN_ZOOS_FAULTS_JSON=${FAULTS_JSON:-} python -m pytest -m "" \
    tests/generation/engines/test_faults.py tests/generation/engines/test_ray.py tests/loaders/test_load.py "$@"

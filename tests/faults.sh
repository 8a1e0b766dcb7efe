#!/usr/bin/env bash
# Disturbs generations many times over, as CI does a few times, and prints what was tried and what survived.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: tests/faults.sh [TIMES] [OPTIONS OF pytest]

kill -9 of the driver and of workers at TIMES [50] random moments each, fewer of the rest: full disks, Ctrl-C, SIGTERM,
hanging workers, two generators at once, jumping clocks, lost Ray nodes. About half an hour on 2 cores for 50.
FAULTS_JSON=FILE writes the counts; RNN_ZOOS_FAULT_SEED=N takes the moments of an earlier run, which printed it.

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
RNN_ZOOS_FAULTS=$times RNN_ZOOS_FAULTS_JSON=${FAULTS_JSON:-} python -m pytest -m "" \
    tests/test_faults.py tests/test_ray.py tests/test_load.py "$@"

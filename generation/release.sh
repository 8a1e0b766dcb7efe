#!/usr/bin/env bash
# Prepares an environment and releases the zoos of a preset on the Hugging Face Hub. See usage() below.
set -euo pipefail

usage() {
    cat <<'EOF'
Usage: generation/release.sh --namespace NAME --preset P [OPTIONS OF rnn-zoos release]

Creates a virtual environment in .venv if none is active, installs rnn-zoos in it, and then, for both zoos of the preset:
generates, checks, verifies some runs, runs the benchmark, draws table and figures, prepares card and Parquet files; when
all of that is done, uploads to private repositories, tags them, and makes them public. Nothing is visible before
everything is complete. You can stop it at any time: the same command resumes where it was.

  --namespace NAME   user or organisation on the Hub; log in first: hf auth login
  --preset P         a preset of rnn-zoos generate, or a YAML file; all but paper become part of repository names
  --out DIR          write zoos to DIR/ZOO and results to DIR/benchmark              [zoos]
  --tag TAG          tag of this version                                             [v1]
  --dry-run          show every command and what it would do; no network, no files
  --mnist SOURCE     digits: hub, a directory with the four IDX files, or embedded   [demo: embedded, else: hub]
  --benchmark P      preset of the benchmark: quick, cpu, paper or none              [cpu]
  --encoder NAME     only this encoder; repeat it for several                        [all]
  --spaces           publish the explorer of each zoo, too, as the Space NAME/ZOO-explorer
  --zoo, --private, --seeds, --verify-runs, --backend, --workers, --endpoint    see: rnn-zoos release --help

Examples:
  generation/release.sh --namespace me --preset demo --dry-run
  generation/release.sh --namespace me --preset demo --benchmark quick --encoder statistics
  generation/release.sh --namespace rnn-zoos --preset paper --mnist ~/mnist --out /data/release
EOF
}

options=() extras=generation,report,baselines,explore
# shellcheck disable=SC1091
. "$(dirname "$0")/environment.sh"

while [ $# -gt 0 ]; do
    case $1 in
        --*=*)
            pair=$1
            shift
            set -- "${pair%%=*}" "${pair#*=}" "$@"
            continue ;;
    esac
    case $1 in
        --help | -h) usage; exit 0 ;;
        --preset | --out | --mnist)
            if [ $# -lt 2 ]; then echo "Error: $1 needs a value." >&2; usage >&2; exit 2; fi
            case $1 in
                --preset) options+=(--preset "$(preset_path "$2")") ;;
                --out) options+=(--out "$(absolute "$2")") ;;
                --mnist) options+=(--mnist "$(digits_path "$2")") ;;
            esac
            shift 2 ;;
        --spaces) extras+=,explore; options+=("$1"); shift ;;
        *) options+=("$1"); shift ;;
    esac
done
cd "$(dirname "$0")/.."

prepare_environment "$extras"
exec rnn-zoos release "${options[@]}"

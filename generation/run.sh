#!/usr/bin/env bash
# Prepares an environment, generates the zoos of a preset, checks them and plots them. See usage() below.
set -euo pipefail

usage() {
    cat <<'EOF'
Usage: generation/run.sh [--preset NAME] [--out DIR] [OPTIONS OF rnn-zoos generate]

Creates a virtual environment in .venv if none is active, installs rnn-zoos in it, generates two zoos of the preset,
checks them, and plots them. You can stop it at any time: the same command resumes where it was. With --part or --store,
it only generates: the directory holds no whole zoo then.

  --preset NAME    demo (minutes on 2 cores), small, medium, paper, or a YAML file   [demo]
  --out DIR        write zoos to DIR/formal-languages and DIR/sequential-mnist       [zoos]
  --zoo ZOO        formal-languages, sequential-mnist or automata; repeat it         [the first two]
  --mnist SOURCE   digits: hub, a directory with the four IDX files, or embedded     [demo: embedded, else: hub]
  --engine ray     use Ray, which is then installed: on this machine, or on a cluster with --address HOST:PORT
  --runs N, --seed S, --workers N, --backend B    see: rnn-zoos generate --help

Examples:
  generation/run.sh --preset demo
  generation/run.sh --preset small --mnist ~/mnist --workers 8
  generation/run.sh --preset paper --zoo formal-languages --out /data/zoos
  generation/run.sh --preset paper --engine ray --address head:6379 --out /data/zoos
EOF
}

preset=demo out=zoos mnist="" zoos=() options=()
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
        --preset | --out | --zoo | --mnist)
            if [ $# -lt 2 ]; then echo "Error: $1 needs a value." >&2; usage >&2; exit 2; fi
            case $1 in
                --preset) preset=$(preset_path "$2") ;;
                --out) out=$(absolute "$2") ;;
                --zoo) zoos+=("$2") ;;
                --mnist) mnist=$(digits_path "$2") ;;
            esac
            shift 2 ;;
        *) options+=("$1"); shift ;;
    esac
done
if [ ${#zoos[@]} -eq 0 ]; then zoos=(formal-languages sequential-mnist); fi
if [ -n "$mnist" ]; then options+=(--mnist "$mnist"); fi
cd "$(dirname "$0")/.."
out=$(absolute "$out")

extras=generation,report,baselines,explore
case " ${options[*]-} " in *" --engine ray "*) extras+=,ray ;; esac
prepare_environment "$extras"

whole=yes
case " ${options[*]-} " in *" --part "* | *" --store "*) whole="" ;; esac
for zoo in "${zoos[@]}"; do
    echo "== $zoo, preset $preset, in $out/$zoo"
    rnn-zoos generate "$zoo" --preset "$preset" --out "$out/$zoo" ${options[@]+"${options[@]}"}
    if [ -n "$whole" ]; then rnn-zoos check "$out/$zoo"; fi
done
if [ -z "$whole" ]; then
    echo "Neither checked nor plotted, because of --part or --store. Join parts with rnn-zoos merge, or download the zoo"
    echo "from the store; then: rnn-zoos check DIR"
    exit 0
fi
for zoo in "${zoos[@]}"; do
    rnn-zoos info "$out/$zoo"
done
echo "Figures:"
for zoo in "${zoos[@]}"; do
    rnn-zoos plot "$out/$zoo"
done
echo "To look at a network: source ${VIRTUAL_ENV}/bin/activate; rnn-zoos sample $(printf %q "$out/${zoos[0]}") --run 0"

#!/usr/bin/env bash
# Sets up, generates both zoos of a preset, checks them and draws them.
set -euo pipefail

usage() {
    cat <<'EOF'
Usage: generation/run.sh [--preset NAME] [--out DIR] [OPTIONS OF rnn-zoos generate]

Makes a virtual environment in .venv if none is active, installs rnn-zoos there, trains both zoos of the preset,
checks them, and draws them. Stop it when you like: the same command goes on where it was.

  --preset NAME    demo (minutes on 2 cores), small, paper, or a YAML file like them   [demo]
  --out DIR        the zoos go to DIR/formal-languages and DIR/sequential-mnist        [zoos]
  --zoo ZOO        only this zoo: formal-languages or sequential-mnist                 [both]
  --mnist SOURCE   hub, a directory with the four IDX files, or embedded               [demo: embedded, else: hub]
  --runs N, --seed S, --workers N, --backend B    as in: rnn-zoos generate --help
  --engine ray     by Ray, which is installed then: on this machine, or on a cluster with --address HOST:PORT

Examples:
  generation/run.sh --preset demo
  generation/run.sh --preset small --mnist ~/mnist --workers 8
  generation/run.sh --preset paper --zoo formal-languages --out /data/zoos
  generation/run.sh --preset paper --engine ray --address head:6379 --out /data/zoos
EOF
}

preset=demo out=zoos mnist="" zoos=(formal-languages sequential-mnist) options=()
absolute() {  # paths are meant from where the script is called, not from the checkout
    case $1 in
        /*) echo "$1" ;;
        *) echo "$PWD/$1" ;;
    esac
}

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
                --preset) case $2 in *.yaml | *.yml) preset=$(absolute "$2") ;; *) preset=$2 ;; esac ;;
                --out) out=$(absolute "$2") ;;
                --zoo) zoos=("$2") ;;
                --mnist) case $2 in hub | embedded) mnist=$2 ;; *) mnist=$(absolute "$2") ;; esac ;;
            esac
            shift 2 ;;
        *) options+=("$1"); shift ;;
    esac
done
if [ -n "$mnist" ]; then options+=(--mnist "$mnist"); fi
cd "$(dirname "$0")/.."

extras=generation,report
case " ${options[*]-} " in *" --engine ray "*) extras+=,ray ;; esac
. generation/environment.sh
prepare_environment "$extras"

for zoo in "${zoos[@]}"; do
    echo "== $zoo, preset $preset -> $out/$zoo"
    rnn-zoos generate "$zoo" --preset "$preset" --out "$out/$zoo" ${options[@]+"${options[@]}"}
    rnn-zoos check "$out/$zoo"
done
for zoo in "${zoos[@]}"; do
    rnn-zoos info "$out/$zoo"
done
echo "Figures:"
for zoo in "${zoos[@]}"; do
    rnn-zoos plot "$out/$zoo"
done
echo "Next: rnn-zoos sample $out/${zoos[0]} --run 0    (first: source ${VIRTUAL_ENV}/bin/activate)"

#!/usr/bin/env bash
# A Slurm job that starts Ray on its nodes and generates a zoo there. Submitted again, it goes on where it was.
#   sbatch --nodes=4 --cpus-per-task=64 generation/slurm.sh formal-languages --preset paper --out /shared/zoos/languages
#   sbatch --nodes=2 --gpus-per-node=8 --cpus-per-task=32 generation/slurm.sh ... --backend triton
# Submit it from the checkout, with the virtual environment of `generation/run.sh` in .venv or another one active, on a
# file system that all nodes see. Options go to `rnn-zoos generate`. RAY_PORT is the port of the head node [6379].
#SBATCH --job-name=rnn-zoos
#SBATCH --ntasks-per-node=1
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
if [ -z "${VIRTUAL_ENV:-}" ]; then . .venv/bin/activate; fi

port=${RAY_PORT:-6379}
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=${RAY_AUTH_TOKEN:-$(od -An -tx1 -N32 /dev/urandom | tr -d " \n")}  # nobody else may use this Ray
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
on_node() { srun --nodes=1 --ntasks=1 --nodelist="$1" "${@:2}"; }
has=(--num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --disable-usage-stats --block)

address=$(on_node "${nodes[0]}" hostname --ip-address | awk '{print $1}')
trap 'kill $(jobs -p) 2>/dev/null || true; wait || true' EXIT
on_node "${nodes[0]}" ray start --head --node-ip-address="$address" --port="$port" --include-dashboard=false "${has[@]}" &
for _ in $(seq 60); do
    if ray health-check --address "$address:$port" >/dev/null 2>&1; then break; fi
    sleep 2
done
for node in "${nodes[@]:1}"; do
    on_node "$node" ray start --address="$address:$port" "${has[@]}" &
done
rnn-zoos generate "$@" --engine ray --address "$address:$port"

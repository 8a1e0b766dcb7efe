#!/usr/bin/env bash
# A Slurm job that starts Ray on its nodes and generates a zoo with it. Submitted again, it resumes where it was.
#   sbatch --nodes=4 --cpus-per-task=64 generation/slurm.sh formal-languages --preset paper --out /shared/zoos/languages
#   sbatch --nodes=2 --gpus-per-node=8 --cpus-per-task=32 generation/slurm.sh ... --backend triton
# Submit it from a checkout on a file system that all nodes share, with a virtual environment in .venv (created by
# `generation/run.sh`) or an active one. All options are passed to `rnn-zoos generate`. RAY_PORT: port of the head node
# [6379].
#SBATCH --job-name=rnn-zoos
#SBATCH --ntasks-per-node=1
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
if [ -z "${VIRTUAL_ENV:-}" ]; then . .venv/bin/activate; fi

port=${RAY_PORT:-6379}
# A random token, so that nobody else can use this cluster.
random_token=$(od -An -tx1 -N32 /dev/urandom | tr -d " \n")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=${RAY_AUTH_TOKEN:-$random_token}
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# Since Slurm 22.05, a step gets one core unless it asks for more: it does not inherit --cpus-per-task of the job.
on_node() { srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --nodes=1 --ntasks=1 --nodelist="$1" "${@:2}"; }
resources=(--num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --disable-usage-stats --block)

address=$(on_node "${nodes[0]}" hostname --ip-address | awk '{print $1}')
trap 'kill $(jobs -p) 2>/dev/null || true; wait || true' EXIT
on_node "${nodes[0]}" ray start --head --node-ip-address="$address" --port="$port" --include-dashboard=false \
    "${resources[@]}" &
for _ in $(seq 60); do
    if ray health-check --address "$address:$port" >/dev/null 2>&1; then break; fi
    sleep 2
done
for node in "${nodes[@]:1}"; do
    on_node "$node" ray start --address="$address:$port" "${resources[@]}" &
done
rnn-zoos generate "$@" --engine ray --address "$address:$port"

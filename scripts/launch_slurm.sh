#!/usr/bin/env bash
#SBATCH --job-name=vlmbench
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=vlmbench-%j.log
#
# Runs `vlmbench run` on a SLURM cluster, one process a GPU, on any number of nodes.
#
#   sbatch --nodes=2 scripts/launch_slurm.sh --model idefics2:HuggingFaceM4/idefics2-8b \
#       --tasks textvqa,docvqa --out /shared/runs/idefics2-8b
#   NODES=2 scripts/launch_slurm.sh --model ... --tasks ... --out ... --dry-run   # outside of SLURM
#
# Submit it from the checkout. --out must be a folder that all nodes share; so must the hub's cache
# (HF_HOME), filled ahead with `vlmbench fetch` where the nodes have no network. The processes share
# nothing else: each runs its part of the plan, and the last one scores. A job that was cut off by
# its time limit goes on when the same command is submitted again.
set -euo pipefail

# SLURM runs a copy of this file, so the checkout is where the job was submitted
root="${SLURM_SUBMIT_DIR:-$(cd "$(dirname "$0")/.." && pwd)}"
vlmbench="$root/.venv/bin/vlmbench"
[[ -x $vlmbench ]] || vlmbench="vlmbench"

for argument in "$@"; do
    if [[ $argument == --dry-run ]]; then
        workers=$((${SLURM_NNODES:-${NODES:-1}} * ${SLURM_NTASKS_PER_NODE:-8}))
        exec "$vlmbench" run --gpus "$workers" "$@"
    fi
done
if [[ -z ${SLURM_JOB_ID:-} ]]; then
    echo "launch_slurm: submit this with sbatch, or add --dry-run to see the plan" >&2
    exit 2
fi

# the names under which vlmbench, as torchrun's children do, looks for its part
# shellcheck disable=SC2016
exec srun bash -c \
    'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS exec "$0" run "$@"' \
    "$vlmbench" "$@"

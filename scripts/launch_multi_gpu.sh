#!/usr/bin/env bash
# Runs `vlmbench run` with one worker process on each GPU of this machine.
#
#   scripts/launch_multi_gpu.sh --model idefics2:HuggingFaceM4/idefics2-8b --tasks textvqa,docvqa
#   GPUS=4 scripts/launch_multi_gpu.sh --model ... --tasks ... --limit 100
#   GPUS=8 scripts/launch_multi_gpu.sh --model ... --tasks ... --dry-run     # the plan, without a GPU
#
# All arguments go to `vlmbench run`. After a crash or a kill the same command goes on, with any
# number of GPUs. CUDA_VISIBLE_DEVICES chooses which ones are used.
set -euo pipefail

vlmbench="$(dirname "$0")/../.venv/bin/vlmbench"
[[ -x $vlmbench ]] || vlmbench="vlmbench"

gpus="${GPUS:-}"
if [[ -z $gpus && -n ${CUDA_VISIBLE_DEVICES:-} ]]; then
    IFS=, read -ra visible <<<"$CUDA_VISIBLE_DEVICES"
    gpus=${#visible[@]}
elif [[ -z $gpus ]] && command -v nvidia-smi >/dev/null; then
    gpus="$(nvidia-smi --list-gpus | grep --count '^GPU' || true)"
fi
if [[ -z $gpus || $gpus == 0 ]]; then
    echo "launch_multi_gpu: no GPU found; set GPUS to their number, or use vlmbench run --workers N" >&2
    exit 2
fi

exec "$vlmbench" run --gpus "$gpus" "$@"

#!/usr/bin/env bash
# Runs `vlmbench run` on this machine and on all that join it, by Ray (pip install -e '.[ray]').
#
#   scripts/launch_ray.sh --model idefics2:HuggingFaceM4/idefics2-8b --tasks vqav2,docvqa --gpus 16
#   scripts/launch_ray.sh join HEAD:6379     # on each other machine, now or at any later time
#
# The first command starts the cluster's head unless this machine belongs to a cluster, and ends what
# it has started. It writes the run's folder; the others need neither that nor a shared disk: they
# read the data themselves, or get it with --ray-data driver. Each machine needs this commit of
# vlmbench, the same Python, and ~/.ray/auth_token of the first: who has that can run programs on
# all of them, who has not is kept out. PORT changes the head's port.
set -euo pipefail

bin="$(dirname "$0")/../.venv/bin"
[[ -x $bin/vlmbench ]] || bin=""
export PATH="${bin:+$bin:}$PATH"
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE="${RAY_AUTH_MODE:-token}"

if ! command -v ray >/dev/null; then
    echo "launch_ray: ray is not installed; pip install -c constraints.txt -e '.[ray]'" >&2
    exit 2
fi

if [[ ${1:-} == join ]]; then
    if [[ $# != 2 || $2 != *:* ]]; then
        echo "launch_ray: write launch_ray.sh join HEAD:PORT, as the first machine says it" >&2
        exit 2
    fi
    exec ray start --address "$2" --block --disable-usage-stats
fi

for argument in "$@"; do
    if [[ $argument == --dry-run ]]; then
        exec vlmbench run "$@"
    fi
done
address=auto
if ! ray status >/dev/null 2>&1; then
    [[ $RAY_AUTH_MODE != token ]] || ray get-auth-token --generate >/dev/null
    # not `ray stop`, which would end every node on this machine
    ray start --head --port "${PORT:-6379}" --include-dashboard false --disable-usage-stats \
        --block >/dev/null &
    head=$!
    trap 'kill "$head" && wait "$head" || true' EXIT
    until ray status >/dev/null 2>&1; do
        if ! kill -0 "$head" 2>/dev/null; then
            trap - EXIT
            echo "launch_ray: the head does not start; if port ${PORT:-6379} is taken, set PORT" >&2
            exit 2
        fi
        sleep 1
    done
    address="$(hostname):${PORT:-6379}" # not auto, which does not wait for this node to be up
    echo "launch_ray: other machines join by: scripts/launch_ray.sh join $address" >&2
fi
vlmbench run --ray "$address" "$@"

#!/usr/bin/env bash
# Trains in N processes on this machine, as a job of several hosts does:
#
#   bash launch/local.sh 2 -- --gin_file=gin/scenes_64.gin --workdir=runs/two
#
# What follows -- goes to each `python -m imagen_jax.train`. Before it:
#
#   --devices=K   K emulated devices in each process, on CPU
#   --gpu_each    process I sees GPU I alone
#   --dry_run     print the commands, start nothing
#
# SIGTERM and ctrl-C go to all processes. Where one ends in an error the others
# get a moment to notice, then they are ended too. Exits with the first code
# that is not 0; 143 says that all is saved and the same command goes on.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

count='' devices='' gpu_each='' dry_run=''
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --devices=*) devices=${1#*=} ;;
    --gpu_each) gpu_each=1 ;;
    --dry_run) dry_run=1 ;;
    *) count=$1 ;;
  esac
  shift
done
[[ $count =~ ^[1-9][0-9]*$ && ${1:-} == -- ]] ||
  fail "'$count' processes: write: $(basename "$0") N -- --gin_file=LEAF" \
    '--workdir=DIR'
[[ $devices =~ ^[0-9]*$ ]] || fail "--devices=$devices is no number"
shift

if [ -z "${PYTHON:-}" ]; then
  use_environment .venv
  [ -n "$dry_run" ] || install_once '' 'Installing JAX and what it needs, once.'
fi
port=${PORT:-$((20000 + RANDOM % 10000))}
if [ -n "$devices" ]; then
  export JAX_PLATFORMS=cpu
  export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$devices"
fi

pids=()
for ((i = 0; i < count; i++)); do
  command=("$PYTHON" -m imagen_jax.train "$@")
  if [ "$count" -gt 1 ]; then
    command+=("--coordinator=localhost:$port" "--num_processes=$count"
      "--process_id=$i")
  fi
  if [ -n "$dry_run" ]; then
    printf '%q ' "${command[@]}"
    printf '\n'
    continue
  fi
  if [ -n "$gpu_each" ]; then export CUDA_VISIBLE_DEVICES=$i; fi
  "${command[@]}" &
  pids+=($!)
done
[ -z "$dry_run" ] || exit 0

# to_all SIGNAL: sends it to those that still run.
to_all() {
  local pid
  for pid in "${pids[@]}"; do kill "-$1" "$pid" 2>/dev/null || true; done
}
trap 'to_all TERM' TERM
trap 'to_all INT' INT

# ended PID: is it over? Sets CODE. `wait` alone would be cut short by a trap.
ended() {
  if kill -0 "$1" 2>/dev/null; then return 1; fi
  CODE=0
  wait "$1" || CODE=$?
}

running=("${pids[@]}")
result=0
patience=60 # half seconds for the others after the first error
while [ "${#running[@]}" -gt 0 ]; do
  left=()
  for pid in "${running[@]}"; do
    if ended "$pid"; then
      if [ "$CODE" -ne 0 ] && [ "$result" -eq 0 ]; then result=$CODE; fi
    else
      left+=("$pid")
    fi
  done
  running=(${left[@]+"${left[@]}"})
  if [ "${#running[@]}" -gt 0 ]; then
    sleep 0.5 || true
    if [ "$result" -ne 0 ] && [ "$result" -ne 143 ]; then
      patience=$((patience - 1))
      if [ "$patience" -eq 20 ]; then to_all TERM; fi
      if [ "$patience" -eq 0 ]; then to_all KILL; fi
    fi
  fi
done
exit "$result"

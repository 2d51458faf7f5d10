#!/usr/bin/env bash
# Trains on a slice of Cloud TPUs: asks for it, waits, installs this clone on
# every worker, runs the same command on all of them, gives the slice back.
#
#   bash launch/tpu_vm.sh NAME --zone=us-east5-b --type=v5litepod-256 \
#       --runtime=v2-alpha-tpuv5-lite --bucket=BUCKET --spot -- \
#       --gin_file=gin/base64_2b.gin --workdir=bucket/base64_2b
#
#   --project=ID   (default: that of gcloud)
#   --bucket=NAME  mounted as bucket/ on every worker by gcsfuse: the work
#                  directory must be one that all of them see
#   --spot         cheaper, and may be taken away: the slice is then asked for
#                  again and the run goes on from its last checkpoint
#   --keep         leave the slice running at the end
#   --dry_run      print the commands, run none
#
# Needs gcloud, logged in. Ends with the code of the training.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

name='' zone='' type='' runtime='' project='' bucket='' spot='' keep='' dry_run=''
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --zone=*) zone=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --runtime=*) runtime=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --bucket=*) bucket=${1#*=} ;;
    --spot) spot=1 ;;
    --keep) keep=1 ;;
    --dry_run) dry_run=1 ;;
    -*) fail "unknown flag $1; the head of this file lists them" ;;
    *) name=$1 ;;
  esac
  shift
done
[ -n "$name" ] && [ -n "$zone" ] && [ -n "$type" ] && [ -n "$runtime" ] &&
  [ "${1:-}" = -- ] ||
  fail 'write: NAME --zone=Z --type=T --runtime=R -- --gin_file=LEAF' \
    '--workdir=DIR; see the head of this file'
shift

where=("--zone=$zone")
if [ -n "$project" ]; then where+=("--project=$project"); fi

# run COMMAND...: prints it, and runs it unless this is a dry run.
run() {
  printf '+ ' >&2
  printf '%q ' "$@" >&2
  printf '\n' >&2
  if [ -z "$dry_run" ]; then "$@"; fi
}

state() {
  gcloud compute tpus queued-resources describe "$name" "${where[@]}" \
    '--format=value(state.state)' 2>/dev/null || true
}

ask() {
  local flags=("--node-id=$name" "--accelerator-type=$type"
    "--runtime-version=$runtime")
  if [ -n "$spot" ]; then flags+=(--spot); fi
  run gcloud compute tpus queued-resources create "$name" "${where[@]}" \
    "${flags[@]}"
}

give_back() {
  run gcloud compute tpus queued-resources delete "$name" "${where[@]}" \
    --force --quiet || true
}

# Returns when the slice is there; fails where it cannot be had.
await() {
  local now
  if [ -n "$dry_run" ]; then return; fi
  while now=$(state) && [ "$now" != ACTIVE ]; do
    case $now in
      FAILED | SUSPENDED | SUSPENDING | '')
        fail "the request for $name is ${now:-gone}; gcloud compute tpus" \
          "queued-resources describe $name says why"
        ;;
    esac
    say "waiting for $name: $now"
    sleep 30
  done
}

on_all() {
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all \
    "--command=$1"
}

install() {
  local archive
  archive=$(mktemp -d)/imagen_jax.tar.gz
  run git -C "$ROOT" archive --format=tar.gz "--output=$archive" HEAD
  run gcloud compute tpus tpu-vm scp "$archive" "$name:imagen_jax.tar.gz" \
    "${where[@]}" --worker=all
  on_all 'mkdir -p imagen_jax && tar -xzf imagen_jax.tar.gz -C imagen_jax &&
    python3 -m venv .venv && .venv/bin/pip install -q -e "imagen_jax[tpu]"'
  if [ -n "$bucket" ]; then
    on_all "mkdir -p imagen_jax/bucket && (mountpoint -q imagen_jax/bucket ||
      gcsfuse --implicit-dirs $(printf %q "$bucket") imagen_jax/bucket)"
  fi
  rm -rf "$(dirname "$archive")"
}

if [ -n "$dry_run" ] || [ "$(state)" != ACTIVE ]; then ask; fi
while true; do
  await
  install
  code=0
  on_all "cd imagen_jax && ../.venv/bin/python -m imagen_jax.train$(
    printf ' %q' "$@"
  )" || code=$?
  if [ "$code" -eq 0 ] || [ -z "$spot" ] || [ "$(state)" = ACTIVE ]; then break; fi
  say "$name was taken away; asking for it again"
  give_back
  ask
done
if [ -z "$keep" ]; then give_back; fi
exit "$code"

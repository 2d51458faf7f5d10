#!/usr/bin/env bash
# Trains on a TPU slice of a GKE cluster, by launch/gke_jobset.yaml:
#
#   bash launch/gke.sh NAME --image=IMAGE --bucket=BUCKET --hosts=64 \
#       --accelerator=tpu-v5-lite-podslice --topology=16x16 -- \
#       --gin_file=gin/base64_2b.gin --workdir=/runs/base64_2b
#
#   --image            with this package and its extra `tpu` installed, and gin/
#                      in its working directory
#   --bucket           mounted as /runs in every pod
#   --hosts            of the slice: its chips over --chips_per_host (4)
#   --service_account  of Kubernetes, that may write the bucket (default)
#   --restarts         of the job after errors and evictions (100)
#   --dry_run          print the YAML, apply nothing
#
# Needs kubectl, pointed at the cluster. `kubectl logs -f -l
# jobset.sigs.k8s.io/jobset-name=NAME` follows it, `kubectl delete jobset NAME`
# ends it, after saving.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

name='' image='' bucket='' hosts='' accelerator='' topology='' dry_run=''
chips_per_host=4 service_account=default restarts=100
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --image=*) image=${1#*=} ;;
    --bucket=*) bucket=${1#*=} ;;
    --hosts=*) hosts=${1#*=} ;;
    --accelerator=*) accelerator=${1#*=} ;;
    --topology=*) topology=${1#*=} ;;
    --chips_per_host=*) chips_per_host=${1#*=} ;;
    --service_account=*) service_account=${1#*=} ;;
    --restarts=*) restarts=${1#*=} ;;
    --dry_run) dry_run=1 ;;
    -*) fail "unknown flag $1; the head of this file lists them" ;;
    *) name=$1 ;;
  esac
  shift
done
[[ ${1:-} == -- ]] || fail 'write: NAME FLAGS -- --gin_file=LEAF --workdir=DIR'
shift
for flag in image bucket accelerator topology; do
  [ -n "${!flag}" ] || fail "--$flag=... is missing"
done
# Kubernetes' own rule, less what a JobSet adds to it.
[[ $name =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
  fail "the name '$name' must be of lower-case letters, digits and hyphens"
for flag in hosts chips_per_host restarts; do
  [[ ${!flag} =~ ^[0-9]+$ ]] || fail "--$flag='${!flag}' is no number"
done

# These stand between quotes in the YAML, and none needs one of its own.
for flag in image bucket accelerator topology service_account; do
  [[ ${!flag} =~ ^[A-Za-z0-9._/:@-]+$ ]] ||
    fail "--$flag='${!flag}' has letters that no such name has"
done

# A JSON list is YAML too: every argument quoted, on one line.
list=''
for argument in "$@"; do
  argument=${argument//\\/\\\\}
  argument=${argument//\"/\\\"}
  argument=${argument//$'\n'/\\n}
  argument=${argument//$'\t'/\\t}
  argument=${argument//$'\r'/\\r}
  [[ $argument != *[[:cntrl:]]* ]] ||
    fail "an argument has control characters: $(printf '%q' "$argument")"
  list+="${list:+, }\"$argument\""
done

yaml=$(cat "$ROOT/launch/gke_jobset.yaml")
# fill WORD VALUE
fill() { yaml=${yaml//"__$1__"/"$2"}; }
fill NAME "$name"
fill RESTARTS "$restarts"
fill HOSTS "$hosts"
fill SERVICE_ACCOUNT "$service_account"
fill ACCELERATOR "$accelerator"
fill TOPOLOGY "$topology"
fill IMAGE "$image"
fill CHIPS_PER_HOST "$chips_per_host"
fill BUCKET "$bucket"
fill ARGS "[$list]"

if [ -n "$dry_run" ]; then
  printf '%s\n' "$yaml"
else
  printf '%s\n' "$yaml" | kubectl apply -f -
fi

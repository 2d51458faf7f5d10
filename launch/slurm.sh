#!/usr/bin/env bash
# Trains on the GPUs of a Slurm cluster, one process for each GPU:
#
#   sbatch --nodes=4 launch/slurm.sh -- \
#       --gin_file=gin/base64_300m.gin --workdir=runs/base64_300m
#
# Submit it from the clone. Every line below that begins with #SBATCH can be
# overruled on the command line of sbatch. The work directory must be one that
# all nodes see. JAX finds the other processes by Slurm's own variables.
# `bash launch/slurm.sh --dry_run -- ARGS` prints the command and stops.
#
# Two minutes before the time is up, or when the node is wanted by another job,
# each process gets SIGTERM, saves and exits with 143; the job is queued again
# and goes on from there.
#SBATCH --job-name=imagen_jax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail

usage="usage: sbatch launch/slurm.sh [--dry_run] -- --gin_file=LEAF --workdir=DIR"
dry_run=''
if [ "${1:-}" = --dry_run ]; then
  dry_run=1
  shift
fi
if [ "${1:-}" != -- ]; then
  printf '%s\n' "$usage" >&2
  exit 2
fi
shift

# sbatch runs a copy of this file: the clone is where it was submitted.
cd "${SLURM_SUBMIT_DIR:-.}" || exit 1
python=${PYTHON:-python}
if [ -z "${PYTHON:-}" ] && [ -x .venv/bin/python ]; then python=.venv/bin/python; fi

command=(srun --kill-on-bad-exit=1 "$python" -m imagen_jax.train "$@")
if [ -n "$dry_run" ]; then
  printf '%q ' "${command[@]}"
  printf '\n'
  exit 0
fi
if [ -z "${SLURM_JOB_ID:-}" ]; then
  printf '%s\n' "not inside a Slurm job; $usage" >&2
  exit 2
fi
"${command[@]}"
code=$?
if [ "$code" -eq 143 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"

# shellcheck shell=bash
# Sourced by the scripts beside it: a Python, a virtual environment, the
# dependencies. Sets ROOT (the clone) and, after `use_environment`, PYTHON.
#
#   use_environment .venv            the active environment, or ROOT/.venv
#   install_once EXTRAS MESSAGE...   pip install -e ROOT[EXTRAS], once

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "$(basename "$0"): $*"
  exit 1
}

# supported PYTHON: is it one of the versions that setup.py is tested with?
supported() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
    >/dev/null 2>&1
}

# Prints the first Python 3.11 to 3.13 on PATH that can make an environment.
# Debian's python3 cannot until python3-venv is installed: it lacks ensurepip.
find_python() {
  local name bare=''
  for name in python3 python3.13 python3.12 python3.11 python; do
    supported "$name" || continue
    if "$name" -c 'import ensurepip, venv' >/dev/null 2>&1; then
      command -v "$name"
      return
    fi
    bare=$name
  done
  if [ -n "$bare" ]; then
    fail "$bare cannot make virtual environments: install its venv module" \
      "(Debian, Ubuntu: apt install python3-venv) and run this again"
  fi
  fail "needs Python 3.11, 3.12 or 3.13 and found $(python3 --version 2>/dev/null ||
    echo none) on PATH: install one (apt, brew, pyenv, or" \
    "'uv python install 3.12 && uv venv --seed --python 3.12 $ROOT/.venv'" \
    'and activate it) and run this again'
}

# use_environment DIR: sets ENVIRONMENT and PYTHON.
use_environment() {
  if [ -n "${VIRTUAL_ENV:-}" ]; then
    ENVIRONMENT=$VIRTUAL_ENV
  elif [ -n "${CONDA_PREFIX:-}" ] && [ "${CONDA_DEFAULT_ENV:-}" != base ]; then
    ENVIRONMENT=$CONDA_PREFIX
  else
    ENVIRONMENT=$ROOT/$1
    if ! "$ENVIRONMENT/bin/python" -c '' >/dev/null 2>&1; then
      local python
      python=$(find_python) || exit 1
      say "Making a virtual environment in $ENVIRONMENT" \
        "($("$python" --version 2>&1))"
      "$python" -m venv --clear "$ENVIRONMENT" || exit 1
    fi
  fi
  PYTHON=$ENVIRONMENT/bin/python
  supported "$PYTHON" ||
    fail "$PYTHON is $("$PYTHON" --version 2>&1) but Python 3.11, 3.12 or" \
      '3.13 is needed: deactivate or delete that environment, run this again'
}

# install_once EXTRAS MESSAGE...: does nothing where the same setup.py was
# installed from the same place before.
install_once() {
  local stamp=$ENVIRONMENT/.imagen_jax$1 wanted
  wanted="$ROOT $(cksum <"$ROOT/setup.py")"
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
  say "${@:2}"
  "$PYTHON" -m pip --version >/dev/null 2>&1 ||
    "$PYTHON" -m ensurepip >/dev/null || exit 1
  "$PYTHON" -m pip install --quiet --editable "$ROOT$1" ||
    fail 'pip could not install the packages: its error is above; with the' \
      'network back, run this again'
  printf '%s\n' "$wanted" >"$stamp"
}

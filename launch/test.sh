#!/usr/bin/env bash
# Runs the tests, on CPU:
#
#   bash launch/test.sh          all that CI runs
#   bash launch/test.sh --fast   the quick ones: what to run after each change
#   bash launch/test.sh --data   those that need TensorFlow, TFDS, seqio, grain
#                                or pyarrow, which the others skip
#
# --fast, given first, takes the folders below but for some long files:
# equations, networks, settings, files, text, and the grammar of the scenes;
# nothing is trained and nothing is drawn by the shipped cascade. Meant to take
# three minutes at most on two idle cores.
#
# --data, given first, installs the extra `data` as well (2 GB), in .venv-data
# where no environment is active, and fails where one of those is missing.
#
# Other arguments go to pytest (-k NAME, -m slow, a path). Uses the active
# virtual environment, or makes .venv-test in this clone; installs the core and
# the extra `dev` there once.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

FAST=(
  tests/config tests/diffusion tests/models tests/stages tests/files tests/text
  tests/data/emoji_scenes
  tests/test_floors.py tests/test_repository.py
  # What compiles longest there, and what draws.
  --ignore=tests/config/test_environment.py
  --ignore=tests/diffusion/test_samplers_oracle.py
  --ignore=tests/diffusion/test_repainting.py
  --ignore=tests/models/test_contexts.py
  --ignore=tests/models/test_convolution.py
  --ignore=tests/models/test_execution.py
  --ignore=tests/models/test_if_unet.py
  --ignore=tests/models/test_sizes.py
  --ignore=tests/text/test_checkpoints.py
)
if [ "${1:-}" = --fast ]; then
  shift
  set -- "${FAST[@]}" "$@"
fi

if [ "${1:-}" = --data ]; then
  shift
  set -- -m 'data_extra and not slow and not browser' "$@"
  use_environment .venv-data
  install_once '[data,dev]' \
    'Installing the core, the extra data and the test tools, once.'
  cd "$ROOT"
  "$PYTHON" -c 'import clu, grain, pyarrow, seqio, tensorboard, tensorflow' ||
    fail 'the extra data is not whole: its error is above'
else
  use_environment .venv-test
  install_once '[dev]' \
    'Installing the core and the test tools: downloads about 275 MB, once.'
fi

# Programs compiled by one run of the tests are there for the next.
export IMAGEN_JAX_CACHE=${IMAGEN_JAX_CACHE:-$ROOT/.pytest_cache/xla}
cd "$ROOT"
# Two processes of up to 4 GB: tracing and compiling use one core mostly.
exec "$PYTHON" -m pytest -n 2 --dist loadfile "$@"

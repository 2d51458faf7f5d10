#!/usr/bin/env bash
# Draws the picture of a sentence, on a machine with nothing but Python:
#
#   bash launch/quickstart.sh "a red fox at sunset"
#
# Further flags go to `python -m imagen_jax.sample` (--help lists them):
#
#   bash launch/quickstart.sh "two pink keys" --seed=7 --num_images=4 --out=DIR
#
# Uses the active virtual environment, or makes .venv in this clone; installs
# the core there once (no TensorFlow, no torch).
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

use_environment .venv
install_once '' \
  'Installing JAX, Flax and what they need: downloads about 185 MB, once;' \
  'a minute or two, 0.8 GB on disk.'

[ $# -gt 0 ] || set -- 'a red fox at sunset'
exec "$PYTHON" -m imagen_jax.sample --num_images=1 "$@"

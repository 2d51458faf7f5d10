"""The environment changes no picture.

JAX takes options from variables that other programs set, in notebooks, shell
profiles and images of clusters. Those that would change what our programs
compute are set to what these were written and tested with. Commands do it by
themselves, before JAX reads them; who imports the package is told by
`check` where an option is another.
"""

import os
import sys

# JAX's option -> what a command has; the variable is the same in capitals.
OPTIONS = {
  'jax_enable_x64': False,
  'jax_threefry_partitionable': True,
  'jax_default_prng_impl': 'threefry2x32',
  'jax_random_seed_offset': 0,
  'jax_default_matmul_precision': None,
  'jax_numpy_dtype_promotion': 'standard',
  'jax_numpy_rank_promotion': 'allow',
  'jax_disable_jit': False,
  'jax_legacy_prng_key': 'allow',
}
_ASCII = ('ascii', 'us-ascii', 'ansi_x3.4-1968')


def is_command() -> bool:
  """Whether this Python was started as `python -m imagen_jax...`."""
  words = sys.orig_argv[1:]
  module = words[words.index('-m') + 1 :][:1] if '-m' in words else []
  return bool(module) and module[0].partition('.')[0] == 'imagen_jax'


def settle() -> None:
  """Sets JAX's options for a command, before or after JAX is imported."""
  for name in OPTIONS:
    os.environ.pop(name.upper(), None)
  if 'jax' in sys.modules:
    config = sys.modules['jax'].config
    for name, value in OPTIONS.items():
      if hasattr(config, name):
        config.update(name, value)


def in_utf8() -> None:
  """Starts Python anew in UTF-8 where it would read and write ASCII.

  A locale of C, with Python's own remedy turned off: names and captions with
  other letters would be lost.
  """
  if sys.getfilesystemencoding().lower() in _ASCII:
    words = [sys.orig_argv[0], '-X', 'utf8', *sys.orig_argv[1:]]
    os.execv(sys.executable, words)


def check() -> None:
  """Raises ValueError where an option of JAX would change what is computed.

  For programs that import the package, whose options are their own.
  """
  config = sys.modules['jax'].config
  for name, value in OPTIONS.items():
    found = getattr(config, name, value)
    if found != value:
      raise ValueError(
        f'JAX is set to {name}={found!r}, with which other pictures and '
        f'embeddings come out; run jax.config.update({name!r}, {value!r}) '
        f'first, and leave {name.upper()} unset'
      )

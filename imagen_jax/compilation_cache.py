"""The persistent compilation cache: a program is compiled once per machine.

Not in the paper. Compiling the cascade takes longer than drawing a picture on
a small machine, so every entry point keeps the compiled programs on disk:

  IMAGEN_JAX_CACHE=DIR        where; 'off' keeps nothing
  JAX_COMPILATION_CACHE_DIR   JAX's own setting, respected where it is set
  otherwise                   imagen_jax/ in the user's cache directory

The files are only a cache: they may be deleted at any time.
"""

import os
import pathlib
import tempfile
import warnings

import jax

VARIABLE = 'IMAGEN_JAX_CACHE'


def enable(directory=None):
  """Turns the cache on, in `directory` where one is given.

  Call it before the first compilation; later ones are kept anyhow.

  Returns:
    The directory as a string, or None where the cache is off or the
    directory cannot be written (which is a warning, not an error).
  """
  directory = directory or os.environ.get(VARIABLE)
  if directory == 'off':
    jax.config.update('jax_enable_compilation_cache', False)
    return None
  directory = directory or jax.config.jax_compilation_cache_dir
  try:
    directory = pathlib.Path(directory or default_directory()).expanduser()
    directory.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=directory).close()
  except (OSError, RuntimeError) as e:  # RuntimeError: the user has no home
    reason = e.strerror if isinstance(e, OSError) else e
    where = directory or "the user's cache directory"
    warnings.warn(
      f'compiled programs are not kept: {where} cannot be written '
      f'({reason}); set {VARIABLE} to a directory that can, or to off',
      stacklevel=2,
    )
    return None
  jax.config.update('jax_enable_compilation_cache', True)
  jax.config.update('jax_compilation_cache_dir', str(directory))
  # JAX keeps only what took a second to compile. The many small programs
  # around the large ones add up to seconds at start-up too.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  return str(directory)


def default_directory():
  """imagen_jax/ where this user's caches live."""
  base = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(base) / 'imagen_jax'

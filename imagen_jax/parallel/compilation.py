"""How programs are compiled, kept and given memory.

enable_cache()   a program is compiled once per machine
options(mesh)    of XLA, for the train step on a CPU
keep_heap()      memory that a step frees stays for the next

Not in the paper. Compiling the cascade takes longer than drawing a picture on
a small machine, so every command keeps the compiled programs on disk:

  IMAGEN_JAX_CACHE=DIR        where; 'off' keeps nothing
  JAX_COMPILATION_CACHE_DIR   JAX's own setting, respected where it is set
  otherwise                   imagen_jax/ in the user's cache directory

The files are only a cache: they may be deleted at any time. They are code that
is loaded and run, so that a directory of another user, or one that others may
write, is not used.
"""

import ctypes
import functools
import os
import pathlib
import stat
import sys
import tempfile

import jax

CACHE_VARIABLE = 'IMAGEN_JAX_CACHE'
_CPU = {'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_REDUCE'}
_UNKNOWN = 'No such compile option', 'is not a valid enum value'
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of mallopt(3)


def enable_cache(directory=None):
  """Turns the cache on, in `directory` where one is given.

  Call it before the first compilation; later ones are kept anyhow.

  Returns:
    The directory as a string, or None where the cache is off, or the
    directory cannot be written or trusted (which is a warning, not an error).
  """
  directory = directory or os.environ.get(CACHE_VARIABLE)
  if directory == 'off':
    jax.config.update('jax_enable_compilation_cache', False)
    return None
  directory = directory or jax.config.jax_compilation_cache_dir
  if '://' not in str(directory):  # else a bucket, which has rights of its own
    directory, problem = _own(directory)
    if problem:
      print(
        f'warning: compiled programs are not kept: {problem}, or set '
        f'{CACHE_VARIABLE} to another directory, or to off',
        file=sys.stderr,
      )
      return None
  jax.config.update('jax_enable_compilation_cache', True)
  jax.config.update('jax_compilation_cache_dir', str(directory))
  # JAX keeps only what took a second to compile. The many small programs
  # around the large ones add up to seconds at start-up too.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  return str(directory)


def _own(directory):
  """(the directory, made if need be; why it is not used and what to do)."""
  where = directory or "the user's cache directory"
  try:
    path = pathlib.Path(directory or default_cache()).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    if stranger := _stranger(path.resolve()):
      # Where JAX's own variable names it, JAX would use it all the same.
      jax.config.update('jax_enable_compilation_cache', False)
      return path, stranger
    tempfile.TemporaryFile(dir=path).close()
  except (OSError, RuntimeError) as e:  # RuntimeError: the user has no home
    reason = e.strerror if isinstance(e, OSError) else e
    return where, f'{where} cannot be written ({reason}); let it be written'
  return path, None


def _stranger(path):
  """Who else could put programs into a directory, in words; None = nobody."""
  if not hasattr(os, 'geteuid'):
    return None  # no POSIX: its modes say nothing
  about = path.stat()
  if about.st_uid not in (0, os.geteuid()):
    return (
      f'{path} belongs to another user ({about.st_uid}), and what is in it '
      'would be run; give it to this one'
    )
  if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    return (
      f'{path} may be written by others, and what is in it would be run; empty '
      f'it and `chmod go-w {path}`'
    )
  for parent in path.parents:
    mode = parent.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
      return (
        f'{path} may be replaced by others, who may write {parent}; `chmod o-w '
        f'{parent}`'
      )
  return None


def default_cache():
  """imagen_jax/ where this user's caches live."""
  base = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(base) / 'imagen_jax'


def options(mesh):
  """What `jax.jit(compiler_options=...)` is given for programs on `mesh`.

  Since jax 0.10, XLA hands convolutions, matrix products and what follows them
  to YNNPACK on a CPU. For wide networks Eigen, which it replaced, is faster:
  forward convolutions run at 150 in the place of 120 GFLOP/s on a core with
  AVX-512, and gradients for their kernels in a quarter of the time. Sums stay
  with YNNPACK, which is faster at those; see benchmarks/README.md.

  None on accelerators, and where this release of XLA has no such option: the
  program is then the same, only slower.
  """
  if mesh.devices.flat[0].platform != 'cpu':
    return None
  return _CPU if _known(tuple(_CPU.items())) else None


@functools.cache
def _known(options):
  """Whether XLA takes these options, as pairs, found by trying them."""
  here = jax.sharding.SingleDeviceSharding(jax.local_devices(backend='cpu')[0])
  number = jax.ShapeDtypeStruct((), 'float32', sharding=here)
  try:
    jax.jit(lambda x: -x).lower(number).compile(compiler_options=dict(options))
  except jax.errors.JaxRuntimeError as e:
    if any(words in str(e) for words in _UNKNOWN):
      return False
    raise
  return True


def keep_heap():
  """Keeps what is freed, for the whole process; whether it can be done.

  On a CPU, XLA allocates the temporaries of a step in one block and frees it
  at the end. The C library of Linux (glibc) hands a block of this size back to
  the system at once, which gives it out anew for the next step, zeroed page by
  page as it is touched: of a base of 77M parameters a step took 4.3 s of the
  processor so, 437,000 page faults of it 1.1 s, and 3.1 s without them, in no
  more memory.

  Not where the C library is another, and not where the user has set its
  behaviour by a variable MALLOC_*.
  """
  if not sys.platform.startswith('linux'):
    return False
  if any(name.startswith('MALLOC_') for name in os.environ):
    return False
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)  # musl has none
  if mallopt is None:
    return False
  # Large blocks from the heap too, nothing cut off its end, and one heap for
  # all threads: those of threads are given back whatever the threshold.
  settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _ARENA_MAX: 1}
  return all(mallopt(name, value) for name, value in settings.items())

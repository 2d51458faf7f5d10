"""What is freed is there again, without the system's giving it out anew."""

import os
import subprocess
import sys

import pytest

_PAGES_OF_THE_SECOND_BLOCK = """
import concurrent.futures, resource, sys
import numpy as np
from imagen_jax.parallel import compilation

kept = compilation.keep_heap() if sys.argv[1] == 'keep' else None

def touch():
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  for size in 2**22, 2**24:  # of one less than a thread's heap, and one more
    block = np.empty(size, np.float32)
    block[:] = 1
    del block
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with concurrent.futures.ThreadPoolExecutor(1) as pool:
  pool.submit(touch).result()
  print(kept, pool.submit(touch).result())
"""


def _second_block(mode, **variables):
  done = subprocess.run(
    [sys.executable, '-c', _PAGES_OF_THE_SECOND_BLOCK, mode],
    env=os.environ | {'NUMPY_MADVISE_HUGEPAGE': '0'} | variables,
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  kept, pages = done.stdout.split()
  return kept, int(pages)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='of glibc')
def test_a_freed_block_is_used_again():
  usual = _second_block('usual')[1]
  assert usual > 2**26 / os.sysconf('SC_PAGE_SIZE') / 2
  kept, pages = _second_block('keep')
  assert kept == 'True' and pages < usual / 100


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='of glibc')
def test_what_the_user_has_set_stays():
  assert _second_block('keep', MALLOC_ARENA_MAX='2')[0] == 'False'

"""A disk that is full, for tests of what is written."""

import contextlib
import resource


@contextlib.contextmanager
def beyond(limit):
  """No file may grow beyond `limit` bytes, as on a full disk."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

"""Notices that Google Cloud is about to take a machine away.

A TPU VM learns of maintenance and preemption from its metadata server, some
time before anything is stopped. A thread asks it, and turns the notice into
the SIGTERM that a run heeds anyhow.
"""

import os
import signal
import sys
import threading
import urllib.error
import urllib.request

import jax

_HOST = 'metadata.google.internal'
_PATH = 'http://{host}/computeMetadata/v1/instance/{name}'
# What the server says where nothing is to come.
_QUIET = {'maintenance-event': 'NONE', 'preempted': 'FALSE'}


class Notices:
  """Used as `with Notices():`; on TPUs alone, unless told otherwise.

  `GCE_METADATA_HOST` names another server, as for Google's own libraries.
  """

  def __init__(self, seconds=5, wanted=None):
    """`seconds` between two looks; `wanted` None = where there are TPUs."""
    self._seconds = seconds
    self._wanted = wanted
    self._over = threading.Event()

  def __enter__(self):
    wanted = self._wanted
    if wanted is None:
      wanted = jax.default_backend() == 'tpu'
    if wanted:
      threading.Thread(target=self._watch, daemon=True).start()
    return self

  def __exit__(self, kind, error, trace):
    self._over.set()

  def _watch(self):
    while not self._over.wait(self._seconds):
      for name, quiet in _QUIET.items():
        said = ask(name)
        if said is not None and said != quiet:
          print(
            f'notice of Google Cloud: {name} is {said}',
            file=sys.stderr,
            flush=True,
          )
          os.kill(os.getpid(), signal.SIGTERM)
          return


def ask(name):
  """What the metadata server says of this machine; None = it is silent."""
  host = os.environ.get('GCE_METADATA_HOST', _HOST)
  request = urllib.request.Request(
    _PATH.format(host=host, name=name), headers={'Metadata-Flavor': 'Google'}
  )
  try:
    with urllib.request.urlopen(request, timeout=3) as answer:
      return answer.read(100).decode(errors='replace').strip()
  except (OSError, urllib.error.URLError, ValueError):
    return None

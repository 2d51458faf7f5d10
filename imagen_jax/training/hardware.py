"""What a run ran on, a line at every start.

  <workdir>/hardware.jsonl   step, time, devices, processes, host, versions

A run may be resumed elsewhere; its speeds mean nothing without this.
"""

import json
import os
import pathlib
import platform
import time

import jax

from imagen_jax.files import lines
from imagen_jax.parallel import processes

NAME = 'hardware.jsonl'


def describe(devices) -> dict:
  """The devices of a job, and the host of this process; ready for JSON."""
  devices = list(devices)
  return {
    'device': devices[0].device_kind,
    'platform': devices[0].platform,
    'devices': len(devices),
    'processes': jax.process_count(),
    'host': _processor(),
    'cores': os.cpu_count(),
    'jax': jax.__version__,
    'python': platform.python_version(),
  }


def note(workdir, step, devices) -> None:
  """Adds the line of a run that starts after `step`; the first process does."""
  if processes.is_first():
    line = {'step': step, 'time': round(time.time(), 1), **describe(devices)}
    log = lines.Lines(pathlib.Path(workdir) / NAME)
    log.add(json.dumps(line))
    log.close()


def _processor():
  """The name of the host's processor."""
  try:
    for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
      if line.startswith('model name'):
        return line.partition(':')[2].strip()
  except OSError:
    pass  # no Linux
  return platform.processor() or platform.machine()

"""Several processes of one job on this machine, for tests.

launch('tests.support.sharded_sgd', 2, [...])   commands alike but for their
                                                number
"""

import os
import pathlib
import re
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def free_port():
  with socket.create_server(('', 0)) as server:
    return server.getsockname()[1]


def environment(devices):
  """That of a process which sees so many emulated devices."""
  flag = '--xla_force_host_platform_device_count'
  others = re.sub(rf'{flag}=\d+', '', os.environ.get('XLA_FLAGS', ''))
  xla = f'{others} {flag}={devices}'.strip()
  return os.environ | {'XLA_FLAGS': xla, 'JAX_PLATFORMS': 'cpu'}


def start(module, count, arguments, devices=2, log=None):
  """Starts the processes; returns them. `log`: a directory for what they say.

  One process is started without the flags of several.
  """
  port, started = free_port(), []
  for index in range(count):
    command = [sys.executable, '-m', module, *arguments]
    if count > 1:
      command += [
        f'--coordinator=localhost:{port}',
        f'--num_processes={count}',
        f'--process_id={index}',
      ]
    out = log and open(log / f'log_{index}.txt', 'a')
    started.append(
      subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(devices),
        stdout=out,
        stderr=subprocess.STDOUT if out else None,
      )
    )
  return started


def launch(module, count, arguments, devices=2, log=None, timeout=300):
  """Starts the processes and waits; returns their exit codes."""
  started = start(module, count, arguments, devices, log)
  try:
    return [process.wait(timeout) for process in started]
  finally:
    for process in started:
      process.kill()

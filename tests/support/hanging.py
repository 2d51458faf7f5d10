"""Two processes of which the second hangs, as the watchdog sees it.

python -m tests.support.hanging [the flags of `processes`]
"""

import argparse
import os
import signal
import time

from imagen_jax.parallel import processes
from imagen_jax.training import watchdog as watchdog_lib

SECONDS = 2  # that a step may take


class Result:
  """What a device computes: there once `ready`."""

  def __init__(self, ready):
    self._ready = ready

  def is_ready(self):
    return self._ready


def main():
  parser = argparse.ArgumentParser()
  processes.add_flags(parser)
  processes.join(parser.parse_args())
  said = []
  with watchdog_lib.Watchdog(SECONDS, said.append) as watchdog:
    watchdog.at('computes step', 1)
    watchdog.began(1, Result(ready=True))
    time.sleep(0.5)
    if not processes.is_first():
      watchdog.at('waits for the batch of step', 2)
      time.sleep(0.5)
      os.kill(os.getpid(), signal.SIGSTOP)
    watchdog.at('computes step', 2)
    watchdog.began(2, Result(ready=False))
    time.sleep(7)
  print('\n'.join(said), flush=True)
  processes.leave(0)


if __name__ == '__main__':
  main()

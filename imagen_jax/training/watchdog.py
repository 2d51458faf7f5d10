"""Tells which host hangs, where, and since when.

A job of many hosts stops as a whole when one of them does: all wait for it in
the next exchange, and say nothing. Here a thread of each process looks whether
steps still end. Where none has for a while it prints the process, the step and
where its Python stands; process 0 also prints what every process last told.
"""

import sys
import threading
import time
import traceback

import jax

from imagen_jax.parallel import agreements, processes

_LOOKS = 8  # times that it looks in the time that a step may take


class Watchdog:
  """Used as `with Watchdog(seconds) as watchdog`; 0 seconds = off.

  Usage:
    watchdog.at('makes batch', step)     before what may hang
    watchdog.began(step, array)          the step's result, not waited for

  Nothing is told before the first step has ended: compiling takes its time.
  """

  def __init__(self, seconds, say=None):
    self._seconds = seconds
    self._say = say or _say
    self._running = []  # (step, array) that have not ended
    self._ended = None  # last step that has
    self._mark = time.monotonic()  # when that was, or when it was told
    self._doing = 'starts'
    self._main = threading.current_thread().ident
    self._over = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)
    self._board = None
    self._looks = 0
    self._heard = {}  # process -> (its text, when it was new); on process 0

  def __enter__(self):
    if self._seconds:
      self._board = agreements.Board('watchdog')
      self._thread.start()
    return self

  def __exit__(self, kind, error, trace):
    self._over.set()
    if self._seconds:
      self._thread.join()

  def at(self, doing, step):
    """What the program is about to do, in words."""
    self._doing = f'{doing} {step}'

  def began(self, step, array):
    """`array` is there when the step has ended."""
    if self._seconds:
      self._running.append((step, array))

  def _watch(self):
    while not self._over.wait(self._seconds / _LOOKS):
      self._looks += 1
      self._look()
      hung = time.monotonic() - self._mark
      if self._ended is not None and hung > self._seconds:
        self._tell(hung)
        self._mark = time.monotonic()  # and once more after as long

  def _look(self):
    """Notes which steps have ended, and lets the others know."""
    while self._running and self._running[0][1].is_ready():
      self._ended, _ = self._running.pop(0)
      self._mark = time.monotonic()
    self._board.write(
      f'{processes.name()}: last ended step {self._ended}, it {self._doing} '
      f'[{self._looks}]'
    )
    if processes.is_first():
      for process, text in self._board.read().items():
        if self._heard.get(process, ('',))[0] != text:
          self._heard[process] = text, time.monotonic()

  def _tell(self, hung):
    lines = [
      f'watchdog: no step has ended for {hung:.0f} s on {processes.name()}; '
      f'the last was {self._ended}, it {self._doing}, and stands at'
    ]
    frame = sys._current_frames().get(self._main)
    lines += ''.join(traceback.format_stack(frame)[-8:]).splitlines()
    if processes.is_first() and jax.process_count() > 1:
      lines += self._roll()
    self._say('\n'.join(lines))

  def _roll(self):
    """What each process told last, those that are silent first."""
    now, lines = time.monotonic(), []
    for process in range(jax.process_count()):
      text, since = self._heard.get(process, (None, None))
      if text is None:
        lines.append((0, f'process {process} has never told anything'))
      elif now - since > 2 * self._seconds / _LOOKS:
        lines.append((1, f'{text}; SILENT for {now - since:.0f} s'))
      else:
        lines.append((2, text))
    return ['watchdog: what each process told last:'] + [
      f'  {line}' for _, line in sorted(lines)
    ]


def _say(text):
  print(text, file=sys.stderr, flush=True)

"""A run that stands still is told, with its place and its process."""

import time

from imagen_jax.training import watchdog
from tests.support import hanging, spawning


def _hang_here(dog, step):
  dog.began(step, hanging.Result(ready=False))
  time.sleep(1.0)


def test_step_stack_and_host_are_told_while_it_hangs():
  said = []
  with watchdog.Watchdog(0.4, said.append) as dog:
    dog.at('computes step', 6)
    dog.began(6, hanging.Result(ready=True))
    time.sleep(0.2)
    dog.at('computes step', 7)
    _hang_here(dog, 7)
  assert 1 <= len(said) <= 2, 'once for each time that a step may take'
  assert said[0].startswith('watchdog: no step has ended for 0 s on ')
  assert 'the last was 6, it computes step 7' in said[0]
  assert '_hang_here' in said[0]


def test_nothing_is_told_while_steps_end_or_before_the_first():
  said = []
  with watchdog.Watchdog(0.4, said.append) as dog:
    time.sleep(0.6)  # compiling
    for step in range(8):
      dog.began(step, hanging.Result(ready=True))
      time.sleep(0.1)
  assert said == []
  with watchdog.Watchdog(0, said.append) as dog:
    _hang_here(dog, 1)
  assert said == []


def test_the_process_that_is_silent_is_named(tmp_path):
  one, other = spawning.start('tests.support.hanging', 2, [], log=tmp_path)
  try:
    assert one.wait(120) == 0
  finally:
    other.kill()
    one.kill()
  said = (tmp_path / 'log_0.txt').read_text()
  told = said.split('what each process told last:')[-1].splitlines()
  assert 'process 1 of 2 (' in told[1] and 'SILENT for' in told[1]
  assert 'last ended step 1, it waits for the batch of step 2' in told[1]
  assert 'process 0 of 2 (' in told[2] and 'computes step 2' in told[2]

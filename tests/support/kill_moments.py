"""Random moments in the life of a run, for `kill_matrix`.

A run takes as long as it takes, so that a moment is told by what the run has
come to: a share of its start, a step, or a save that is under way.
"""

import dataclasses
import json
import random
import time

# How often a signal comes then.
_OFTEN = {'start': 1, 'step': 4, 'save': 4}
_MORE = 0.3  # seconds at most after a step has ended
_SAVING = 0.15  # seconds at most after the first file of a checkpoint
_LOOKS = 0.005  # seconds between two looks


def reported(workdir, since):
  """Steps that a run has reported after a moment of `time.time()`."""
  path = workdir / 'metrics.jsonl'
  if not path.exists():
    return []
  lines = [x for x in path.read_text().splitlines() if x.endswith('}')]
  rows = [json.loads(line) for line in lines]
  # They tell the time to a tenth of a second.
  return [r['step'] for r in rows if 'loss' in r and r['time'] > since + 0.1]


def steps(workdir):
  """Steps of the whole checkpoints."""
  names = [path.name for path in (workdir / 'checkpoints').glob('[0-9]*')]
  return [int(name) for name in names if name.isdecimal()]


def newest(workdir):
  """Step of the newest whole checkpoint, 0 = none."""
  return max(steps(workdir), default=0)


def half_written(workdir):
  """Names of the checkpoints that are being written, or were."""
  found = (workdir / 'checkpoints').glob('*tmp*')
  return sorted(path.name for path in found)


@dataclasses.dataclass
class Moments:
  """Moments at random in runs of so many steps."""

  rng: random.Random
  steps: int
  starting: dict  # place's name -> seconds until its first step, as last seen

  def await_one(self, place, workdir, is_over):
    """Returns at a random moment of a run that has just begun there.

    Args:
      place: name of what it runs on.
      workdir: that of the run.
      is_over: () -> whether the run has come to its end.

    Returns a dict: what was waited for, the seconds, the last step.
    """
    begun, since = time.monotonic(), time.time()
    aim = self.rng.choices(list(_OFTEN), list(_OFTEN.values()))[0]
    longest = self.rng.random() * self.starting.get(place, 10.0)
    step = self.rng.randint(min(newest(workdir) + 1, self.steps), self.steps)
    more, done = self.rng.random(), []
    while not is_over():
      time.sleep(_LOOKS)
      seconds = time.monotonic() - begun
      if aim == 'start' and seconds > longest:
        break
      if not done and (done := reported(workdir, since)):
        self.starting[place] = round(seconds, 1)
      if done and done[-1] < step:
        done = reported(workdir, since)
      if not done or done[-1] < step:
        continue
      if aim != 'save':
        time.sleep(more * _MORE)
        break
      if half_written(workdir):
        time.sleep(more * _SAVING)
        break
    done = reported(workdir, since)
    return {
      'awaited': aim,
      'after_seconds': round(time.monotonic() - begun, 2),
      'last_step': max(done, default=None),  # None: before its first
    }

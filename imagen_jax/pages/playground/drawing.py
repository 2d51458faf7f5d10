"""The queue of the page, and the one thread that draws.

JAX is called from that thread alone. What goes on is told by numbers that
rise: whoever has seen state 17 asks for what changed since.

  with drawing.Studio(cascade) as studio:
    job = studio.add(order)
    studio.since(17, seconds=10)
"""

import dataclasses
import io
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence

import numpy as np
import PIL.Image

from imagen_jax.data import images
from imagen_jax.files import pictures
from imagen_jax.pages.playground import orders
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import edits, recipes

WAITING = 8  # pictures that may wait
KEPT = 100  # pictures of the history, in memory
_SEEN = 512  # pixels, side of what is shown of a picture on the way
_SMALL = 256  # pixels, side of it in the history
_OVER = ('done', 'stopped', 'failed')


class Full(Exception):
  """So many wait already; the message says what to do."""


class Stopped(Exception):
  """Raised inside the sampler to leave it."""


@dataclasses.dataclass(kw_only=True, eq=False)
class Job:
  """An order and what became of it. Changed under the studio's lock."""

  order: orders.Order
  id: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(9))
  state: str = 'waiting'  # then 'drawing', then one of _OVER
  changed: int = 0  # state of the studio when this changed
  stage: int = 0  # number of the stage that runs
  step: int = 0  # of its steps
  steps: int = 0
  # Of each stage's picture: uint8 [h, w, 3] while drawn, then a PNG file.
  seen: dict = dataclasses.field(default_factory=dict)
  small: bytes = b''  # PNG of the finished picture, for the history
  png: bytes = b''  # the finished picture, with its recipe
  size: tuple[int, int] | None = None  # its height and width
  begun: float = 0.0  # seconds, monotonic
  seconds: float = 0.0  # that it took
  said: str = ''  # why it failed
  remarks: tuple[str, ...] = ()
  stop: bool = False


class Studio:
  """Draws one order after the other.

  Args:
    cascade: that draws.
    history: finished ones, the oldest first.
    waiting: orders that may wait at most.
    kept: pictures of the history at most; the oldest leave it.
    store: called as store(job) with each finished one, where it is kept on the
      disk; its ValueError is told with the picture.
  """

  def __init__(
    self,
    cascade: cascade_lib.Cascade,
    *,
    history: Sequence[Job] = (),
    waiting: int = WAITING,
    kept: int = KEPT,
    store: Callable[[Job], None] | None = None,
  ):
    self.cascade = cascade
    self.run = secrets.token_urlsafe(6)  # of this process: numbers begin anew
    self._waiting, self._kept, self._store = waiting, kept, store
    self._jobs: dict[str, Job] = {}  # by id, the oldest first
    self._number = 0
    for job in history:
      self._jobs[job.id] = job
    self._changed = threading.Condition()
    self._closed = False
    self._thread = threading.Thread(target=self._work, daemon=True)

  def __enter__(self):
    self._thread.start()
    return self

  def __exit__(self, *_):
    self.close()

  def close(self, seconds: float = 30.0) -> bool:
    """Stops what is drawn and the thread; whether it ended in time."""
    with self._changed:
      self._closed = True
      for job in self._jobs.values():
        job.stop = True
      self._changed.notify_all()
    self._thread.join(seconds)
    return not self._thread.is_alive()

  def add(self, order: orders.Order) -> Job:
    """Takes an order into the queue; raises Full."""
    job = Job(order=order, remarks=order.remarks)
    with self._changed:
      wait = sum(job.state == 'waiting' for job in self._jobs.values())
      if wait >= self._waiting:
        raise Full(
          f'{wait} pictures wait already, and this page takes no more; wait '
          'for one, or stop one'
        )
      self._jobs[job.id] = job
      self._touch(job)
    return job

  def stop(self, id: str) -> bool:
    """Takes an order out of the queue, or stops it; whether there is one."""
    with self._changed:
      job = self._jobs.get(id)
      if job is None:
        return False
      if job.state not in _OVER:
        job.stop = True
        if job.state == 'waiting':
          job.state = 'stopped'
        self._touch(job)
      return True

  def forget(self, id: str) -> bool:
    """Takes a picture out of the history; whether it was there."""
    with self._changed:
      job = self._jobs.get(id)
      if job is None or job.state not in _OVER:
        return False
      del self._jobs[id]
      self._touch()
      return True

  def get(self, id: str) -> Job | None:
    with self._changed:
      return self._jobs.get(id)

  def since(self, number: int, seconds: float = 0.0):
    """(number, ids of all jobs, those that changed since the number given).

    Waits up to so many seconds until something did.
    """
    with self._changed:
      self._changed.wait_for(
        lambda: self._closed or self._number > number, seconds
      )
      news = [
        dataclasses.replace(job, seen=dict(job.seen))
        for job in self._jobs.values()
        if job.changed > number
      ]
      return self._number, list(self._jobs), news

  def finished(self) -> int:
    """Pictures of the history that are done."""
    with self._changed:
      return sum(job.state == 'done' for job in self._jobs.values())

  def small(self, id: str) -> bytes | None:
    """A PNG of a finished picture for the history."""
    job = self.get(id)
    if job and job.png and not job.small:  # one of an earlier run
      try:
        image = images.decode(job.png)
      except images.BadPicture:
        return None  # a file that was altered since it was written
      job.small = _png(_shrunk(np.asarray(image), _SMALL))
    return job and job.small

  def look(self, id: str, resolution: int) -> bytes | None:
    """A PNG of what a stage's picture is by now, for the page."""
    with self._changed:
      job = self._jobs.get(id)
      seen = job and job.seen.get(resolution)
    return _png(seen) if isinstance(seen, np.ndarray) else seen

  def _touch(self, job=None):
    """Tells whoever waits that something changed; under the lock."""
    self._number += 1
    if job is not None:
      job.changed = self._number
    over = [job for job in self._jobs.values() if job.state in _OVER]
    for old in over[: max(0, len(over) - self._kept)]:
      del self._jobs[old.id]
    self._changed.notify_all()

  def _next(self):
    """Waits for an order; None where there will be none."""
    with self._changed:
      while not self._closed:
        for job in self._jobs.values():
          if job.state == 'waiting':
            job.state, job.begun = 'drawing', time.monotonic()
            self._touch(job)
            return job
        self._changed.wait()
    return None

  def _work(self):
    while job := self._next():
      state, said = 'done', ''
      try:
        self._draw(job)
      except Stopped:
        state = 'stopped'
      except (ValueError, FloatingPointError, MemoryError) as e:
        state, said = 'failed', ' '.join(str(e).split())
      except Exception as e:
        # One picture's; the next may come out well.
        traceback.print_exc()
        state = 'failed'
        said = f'{type(e).__name__}, see where the server was started'
      with self._changed:
        job.state, job.said = state, said
        job.seconds = time.monotonic() - job.begun
        self._touch(job)

  def _draw(self, job):
    order, plan = job.order, job.order.plan
    names = list(order.sizes(self.cascade))
    stages = [s for s in self.cascade.stages if s.name in names]
    number = {name: n for n, name in enumerate(names)}

    def progress(name, step, steps):
      with self._changed:
        if job.stop:
          raise Stopped
        job.stage, job.step, job.steps = number[name], step, steps
        self._touch(job)

    def watch(name, rows, step, images):
      del rows, step  # there is one picture, and `progress` told the step
      seen = _shrunk(images[0], _SEEN)
      with self._changed:
        if job.stop:
          raise Stopped
        job.seen[stages[number[name]].resolution] = seen
        self._touch(job)

    request = cascade_lib.Request(caption=order.prompt)
    if order.change == 'upscale':
      image, edit = self._enlarge(order, progress)
    else:
      source = order.source(stages[-1].resolution)
      edit = source and source.said()
      (image,) = self.cascade.draw(
        [request],
        plan,
        seed=order.seed,
        size=order.size,
        negative=order.negative,
        source=source,
        progress=progress,
        watch=watch,
      )
    text = recipes.write(
      self.cascade,
      plan,
      request,
      order.seed,
      negative=order.negative,
      edit=edit,
      size=order.size,
    )
    png = pictures.png(image, text)
    seen = {size: _png(array) for size, array in job.seen.items()}
    seen[stages[-1].resolution] = _png(_shrunk(image, _SEEN))
    with self._changed:
      job.png, job.seen, job.size = png, seen, image.shape[:2]
      job.small = _png(_shrunk(image, _SMALL))
    if self._store:
      try:
        self._store(job)
      except ValueError as e:
        print(f'error: {e}', file=sys.stderr)
        job.remarks += (str(e),)

  def _enlarge(self, order, progress):
    """The picture of an order enlarged, and what its recipe says of that."""
    picture = order.picture.pixels()
    image = edits.upscale(
      self.cascade,
      picture,
      order.plan,
      caption=order.prompt,
      seed=order.seed,
      progress=progress,
    )
    return image, f'upscale of {edits.fingerprint(picture)}'


def _shrunk(image, side):
  """uint8 [h, w, 3], no larger than the side either way."""
  longest = max(image.shape[:2])
  if longest <= side:
    return image
  height, width = (max(1, side * n // longest) for n in image.shape[:2])
  image = PIL.Image.fromarray(image)
  return np.asarray(
    image.resize((width, height), PIL.Image.Resampling.BOX, reducing_gap=2.0)
  )


def _png(image):
  """Its bytes; quickly, for it is looked at once."""
  file = io.BytesIO()
  PIL.Image.fromarray(image).save(file, 'PNG', compress_level=1)
  return file.getvalue()

"""A cascade that draws when a test says so, and a studio of it in a server.

painter = Painter()
painter.go(3)  # three steps, of whatever is drawn
"""

import contextlib
import http.client
import io
import json
import threading
import time
import urllib.parse

import numpy as np
import PIL.Image

from imagen_jax.pages import server
from imagen_jax.pages.playground import drawing, orders, page
from tests.support import tiny_cascade

FOX, KEYS, CAR = tiny_cascade.CAPTIONS
STEPS = 5 + 1 + 3 + 1 + 2 + 1  # to `go` for a picture: each stage begins with 0


class Painter:
  """The tiny cascade, but for what it draws: flat gray, rising by step."""

  def __init__(self):
    self._cascade = tiny_cascade.load()
    self._may = threading.Semaphore(0)
    self.threads = set()  # that it was called from
    self.drawn = []  # prompts, in order

  def __getattr__(self, name):
    return getattr(self._cascade, name)

  def go(self, steps=STEPS):
    for _ in range(steps):
      self._may.release()

  def draw(self, requests, plan, *, progress, watch, **unused):
    self.threads.add(threading.get_ident())
    (prompt,) = (request.caption for request in requests)
    self.drawn.append(prompt)
    for stage, sampling in zip(self.stages, plan):
      size = stage.resolution
      for step in range(sampling.steps + 1):
        assert self._may.acquire(timeout=20), 'nobody let it go on'
        progress(stage.name, step, sampling.steps)
        if prompt == 'spoilt':
          raise FloatingPointError('stage tiny_8 drew what is\nnot finite')
        if prompt == 'broken':
          raise RuntimeError('by intent')
        image = np.full([1, size, size, 3], 10 * step + size, np.uint8)
        if step:
          watch(stage.name, range(1), step, image)
    return image


def order(prompt=FOX, **fields):
  return orders.read(
    {'prompt': prompt, **fields}, tiny_cascade.load(), lambda id: None
  )


def wait_for(holds, seconds=30):
  """Until `holds()`; its value."""
  end = time.monotonic() + seconds
  while not (value := holds()):
    assert time.monotonic() < end, 'it never came'
    time.sleep(0.005)
  return value


def file(mode='RGB', size=(40, 20), kind='PNG', **settings):
  """The bytes of a picture file."""
  data = io.BytesIO()
  PIL.Image.new(mode, size, **settings).save(data, kind)
  return data.getvalue()


@contextlib.contextmanager
def served(cascade, **settings):
  """A studio and its page in a server: (studio, address)."""
  studio = drawing.Studio(cascade, **settings)
  directory = str(tiny_cascade.directory())
  with (
    studio,
    server.listen(
      page.StudioPage(studio, directory), port=0, files=page.FILES
    ) as listening,
  ):
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    try:
      yield studio, listening.server_address
    finally:
      # What waits for a step goes on, and finds that it is to stop.
      for job in studio.since(-1)[2]:
        studio.stop(job.id)
      if isinstance(cascade, Painter):
        cascade.go(1000)
      listening.shutdown()
      thread.join()


class Guest:
  """Asks for pages and sends forms, without a browser."""

  def __init__(self, address):
    self._address = address

  def ask(self, method, path, body=None, **headers):
    """(status, headers, bytes)."""
    link = http.client.HTTPConnection(*self._address, timeout=30)
    link.request(method, path, body, headers)
    answer = link.getresponse()
    data = answer.read()
    link.close()
    return answer.status, answer.headers, data

  def get(self, path):
    status, _, data = self.ask('GET', path)
    assert status == 200, data[:200]
    return data

  def post(self, path, **fields):
    """(status, text)."""
    kind = {'Content-Type': 'application/x-www-form-urlencoded'}
    body = urllib.parse.urlencode(fields)
    status, _, data = self.ask('POST', path, body, **kind)
    return status, data.decode()

  def draw(self, prompt, **fields):
    """The id of the job."""
    status, said = self.post('/draw', prompt=prompt, **fields)
    assert status == 200, said
    return json.loads(said)['id']

  def send(self, data, name='photo.png'):
    """Sends a picture: (status, text)."""
    status, _, said = self.ask(
      'POST',
      '/source?' + urllib.parse.urlencode({'name': name}),
      data,
      **{'Content-Type': 'application/octet-stream'},
    )
    return status, said.decode()

  def job(self, id):
    """What the page is told of a job."""
    news = json.loads(self.get('/state'))
    return next(job for job in news['jobs'] if job['id'] == id)

  def finished(self, id):
    """The same, when it is over."""
    over = ('done', 'stopped', 'failed')
    # Where it is really drawn, programs are compiled first.
    return wait_for(lambda: (job := self.job(id))['state'] in over and job, 300)

"""Many raters at once, and the rating server killed among them.

  python benchmarks/ratings.py --raters=50 --seconds=60

Serves a study of drawn scenes on loopback, lets scripted raters vote through
the page's own forms (they fetch both pictures too), kills the server (SIGKILL)
halfway, starts it again, and looks every acknowledged vote up in the database.
A vote counts as acknowledged when the server's answer has arrived. Exits 1 if
one is missing, or is there twice.
"""

import argparse
import http.client
import pathlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from imagen_jax.data.emoji_scenes import drawing, prompts  # noqa: E402
from imagen_jax.evaluation.ratings import archive  # noqa: E402
from imagen_jax.files import pictures  # noqa: E402

PROMPTS = 200  # as many are fixed
EACH = 8  # pictures of a prompt: more pairs than anyone gets through
SIDE = 64  # pixels


class Rater(threading.Thread):
  """Votes as fast as it can; remembers what was acknowledged."""

  def __init__(self, number, port, end):
    super().__init__(daemon=True)
    self._random = random.Random(number)
    self._port, self._end = port, end
    self._link, self._cookie = None, ''
    self.acknowledged = []  # tickets
    self.seconds = []  # from the form sent to the answer
    self.again = 0  # sent anew: the answer had not arrived
    self.done = False

  def run(self):
    sent = None  # a form without an answer
    while time.monotonic() < self._end and not self.done:
      try:
        sent = self._step(sent)
      except (OSError, http.client.HTTPException):
        self._link = None
        time.sleep(0.2)

  def _step(self, sent):
    if sent is None:
      page = self._ask('GET', '/')
      ticket = re.search(r'name="ticket" value="([\w-]+)"', page)
      if ticket is None:
        if 'action="/begin"' in page:
          self._ask('POST', '/begin')
        else:
          self.done = True
        return None
      for side in ('left', 'right'):
        self._ask('GET', f'/picture/{ticket[1]}/{side}/0')
      self._sent = {
        'ticket': ticket[1],
        'quality': self._random.choice(['left', 'none', 'right']),
        'caption': self._random.choice(['left', 'none', 'right']),
      }
    else:
      self.again += 1
    return self._vote(self._sent)

  def _vote(self, form):
    begun = time.monotonic()
    try:
      self._ask('POST', '/vote', form)
    except (OSError, http.client.HTTPException):
      self._link = None
      time.sleep(0.2)
      return form
    self.seconds.append(time.monotonic() - begun)
    self.acknowledged.append(form['ticket'])
    return None

  def _ask(self, method, path, form=None):
    """The answer's text; HTTPException where it is not 200 or 303."""
    if self._link is None:
      self._link = http.client.HTTPConnection('127.0.0.1', self._port, 30)
    kind = {'Content-Type': 'application/x-www-form-urlencoded'}
    self._link.request(
      method,
      path,
      body=urllib.parse.urlencode(form or {}) if method == 'POST' else None,
      headers={'Cookie': self._cookie} | (kind if method == 'POST' else {}),
    )
    answer = self._link.getresponse()
    body = answer.read()
    if cookie := answer.getheader('Set-Cookie'):
      self._cookie = cookie.partition(';')[0]
    if answer.status not in (200, 303):
      raise http.client.HTTPException(f'{path}: {answer.status}')
    return body.decode('utf-8', 'ignore')


def draw(folder):
  """Two directories of the same scenes, one of them inverted."""
  for side in 'ab':
    (folder / side).mkdir()
  for number, prompt in enumerate(prompts.load('lite')[:PROMPTS]):
    image = drawing.draw(prompt.scene, SIDE)
    for index in range(EACH):
      text = {'prompt': prompt.caption, 'index': str(index)}
      for side, picture in (('a', image), ('b', 255 - image)):
        path = folder / side / f'{number}_{index}.png'
        pictures.write_png(path, picture, text)


def serve(folder, port):
  """Starts the server; returns it and its port once it listens."""
  command = [sys.executable, '-m', 'imagen_jax.rate', '--simulated']
  command += [f'--{side}={folder / side}' for side in 'ab']
  command += [f'--out={folder / "study.sqlite"}', f'--port={port}']
  server = subprocess.Popen(
    command, cwd=ROOT, stdout=subprocess.PIPE, text=True
  )
  for line in server.stdout:
    if found := re.match(r'http://[^:]+:(\d+)/', line):
      return server, int(found[1])
  raise SystemExit('the server did not start')


def check(path, raters):
  """Looks up what was acknowledged: (lines to print, whether all is well)."""
  archive.load(path).close()  # hashes of definition and votes
  with sqlite3.connect(path) as db:
    stored = dict(
      db.execute(
        'SELECT ticket, count(question) FROM shown JOIN votes USING (rater, '
        'trial) GROUP BY ticket'
      ).fetchall()
    )
    (rows,) = db.execute('SELECT count(*) FROM votes').fetchone()
  acknowledged = [t for rater in raters for t in rater.acknowledged]
  missing = [t for t in acknowledged if t not in stored]
  wrong = [t for t, count in stored.items() if count != 2]
  twice = len(acknowledged) - len(set(acknowledged))
  seconds = np.array([s for rater in raters for s in rater.seconds])
  low, high, top = np.percentile(seconds, [50, 95, 100])
  lines = [
    f'{len(acknowledged)} forms acknowledged (two votes each), {rows} votes in '
    'the database',
    f'missing {len(missing)}, not exactly two votes {len(wrong)}, acknowledged '
    f'twice {twice}',
    f'sent anew for want of an answer {sum(r.again for r in raters)}',
    f'from form to answer: median {low * 1000:.0f} ms, 95% below '
    f'{high * 1000:.0f} ms, longest {top:.2f} s',
  ]
  return lines, not (missing or wrong or twice)


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--raters', type=int, default=50, help='at once')
  parser.add_argument('--seconds', type=float, default=60, help='of voting')
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    draw(folder)
    server, port = serve(folder, 0)
    begun = time.monotonic()
    end = begun + args.seconds
    raters = [Rater(n, port, end) for n in range(args.raters)]
    for rater in raters:
      rater.start()
    time.sleep(args.seconds / 2)
    if any(rater.done for rater in raters):
      raise SystemExit('raters were done before the kill; give fewer --seconds')
    before = sum(len(rater.acknowledged) for rater in raters)
    server.send_signal(signal.SIGKILL)
    server.wait()
    killed = time.monotonic()
    server, _ = serve(folder, port)
    print(
      f'killed after {before} forms, back in {time.monotonic() - killed:.1f} s'
    )
    for rater in raters:
      rater.join()
    spent = time.monotonic() - begun
    server.terminate()
    server.wait()
    lines, well = check(folder / 'study.sqlite', raters)
    done = sum(rater.done for rater in raters)
    forms = sum(len(rater.acknowledged) for rater in raters)
    print(
      f'{args.raters} raters, {spent:.0f} s, {forms / spent:.0f} forms/s, '
      f'{done} raters rated everything'
    )
    print(*lines, sep='\n')
  return 0 if well else 1


if __name__ == '__main__':
  sys.exit(main())

"""What a browser asks for and gets: Request -> Response.

GET  /                    the page
GET  /state?run=R&after=N what changed since state N, waiting for it: JSON
GET  /look/JOB/64         what a stage's picture is by now
GET  /small/JOB           a finished picture for the history
GET  /png/JOB             the picture, with its recipe; ?save=1 as a download
GET  /source/ID           a picture to start from, small; ?save=1 as it was sent
POST /draw                takes an order: JSON with its id
POST /stop, /forget       a job, out of the queue or the history
POST /source?name=...     takes a picture to start from: JSON with its id

What is wrong with a request is said in one line of plain text. Nothing in it
becomes the name of a file.
"""

import json
import urllib.parse

from imagen_jax.files import pictures
from imagen_jax.pages import frame, server
from imagen_jax.pages.playground import (
  drawing,
  markup,
  orders,
  sources,
  writing,
)

FILES = {'/source': sources.BYTES}  # of `server.listen`
_WAIT = 10.0  # seconds that a browser is kept waiting for news
_DAY = 86400


class StudioPage:
  """The page of one studio.

  Args:
    studio: draws.
    directory: of its cascade, as it was named; None = the one that ships.
    kept: where finished pictures go, in words, or None.
  """

  def __init__(self, studio: drawing.Studio, directory=None, kept=None):
    self._studio = studio
    self._directory = directory
    self._sources = sources.Pictures()
    self._page = frame.document(
      'Imagen',
      markup.body(studio.cascade, kept),
      ('paint.js', 'serve.js'),
      'serve.css',
    )

  def __call__(self, request: server.Request) -> server.Response:
    match request.method, request.path.split('/')[1:]:
      case 'GET', ['']:
        return server.Response(body=self._page)
      case 'GET', ['state']:
        return self._state(request.query)
      case 'GET', ['look', id, size] if size.isdecimal() and len(size) < 6:
        return _png(self._studio.look(id, int(size)))
      case 'GET', ['small', id]:
        return _png(self._studio.small(id))
      case 'GET', ['png', id]:
        job = self._studio.get(id)
        if job and 'save' in request.query:
          return _download(_name(job), job.png, 'image/png')
        return _png(job and job.png)
      case 'GET', ['source', id]:
        picture = self._find(id)
        if picture and 'save' in request.query:
          return _download(picture.name, picture.data)
        return _png(picture and picture.small)
      case 'GET', [name] if found := frame.asset(name):
        return found
      case 'POST', ['draw']:
        return self._draw(request.form)
      case 'POST', ['stop']:
        return self._done(self._studio.stop(request.form.get('job', '')))
      case 'POST', ['forget']:
        return self._done(self._studio.forget(request.form.get('job', '')))
      case 'POST', ['source']:
        return self._source(request)
    return server.line(404, 'error: there is no such page')

  def _draw(self, form):
    try:
      order = orders.read(form, self._studio.cascade, self._find)
      job = self._studio.add(order)
    except drawing.Full as e:
      return server.line(503, f'error: {e}')
    except ValueError as e:
      return server.line(400, f'error: {" ".join(str(e).split())}')
    return _json({'id': job.id})

  def _source(self, request):
    try:
      picture = self._sources.add(request.file, request.query.get('name', ''))
    except ValueError as e:
      return server.line(400, f'error: {e}')
    return _json(_about(picture))

  def _find(self, id):
    """A picture to start from: one that was sent, or that was drawn here."""
    if picture := self._sources.get(id):
      return picture
    job = self._studio.get(id)
    if not (job and job.png):
      return None
    height, width = job.size
    return sources.Picture(
      id=id,
      name=_name(job),
      data=job.png,
      width=width,
      height=height,
      small=self._studio.small(id),
    )

  def _done(self, there):
    if there:
      return _json({})
    return server.line(404, 'error: that picture is not here any more')

  def _state(self, query):
    after = query.get('after', '')
    known = query.get('run') == self._studio.run and after.isdecimal()
    after = int(after[:18]) if known else -1
    number, ids, news = self._studio.since(after, _WAIT)
    return _json(
      {
        'run': self._studio.run,
        'number': number,
        'ids': ids,
        'jobs': [self._job(job) for job in news],
      }
    )

  def _job(self, job):
    """What the page shows of a job."""
    order, cascade = job.order, self._studio.cascade
    run = order.sizes(cascade)
    stages = [s for s in cascade.stages if s.name in run]
    plan = [p for s, p in zip(cascade.stages, order.plan) if s.name in run]
    drawn = [*run.values()]
    if job.size:  # as it is, where nothing else tells any more
      drawn[-1] = job.size
    return {
      'id': job.id,
      'state': 'stopping' if job.stop and job.state == 'drawing' else job.state,
      'changed': job.changed,
      'prompt': order.prompt,
      'negative': order.negative or '',
      'seed': order.seed,
      'title': order.title,
      'sizes': [stage.resolution for stage in stages],
      'said_sizes': [_pixels(size) for size in drawn],
      'all': [sampling.steps for sampling in plan],
      'seen': sorted(job.seen),
      'stage': job.stage,
      'step': job.step,
      'steps': job.steps,
      'seconds': round(job.seconds, 1) if job.begun else None,
      'said': job.said,
      'remarks': job.remarks,
      'fields': order.fields,
      'from': _from(order),
      'gone': bool(order.edit),  # what it was made of
      'source': _about(order.picture),
      'mask': _about(order.mask),
      'change': order.change,
      'width': drawn[-1][1],
      'height': drawn[-1][0],
      'file': _name(job),
      'command': writing.command(order, cascade, self._directory),
      'python': writing.python(order, cascade, self._directory),
    }


def _from(order):
  """What a picture was made of, in words."""
  if order.picture:
    return order.picture.name
  return 'another picture' if order.edit else ''


def _name(job):
  """The file name of a picture."""
  return f'{pictures.slug(job.order.title)}_seed{job.order.seed}.png'


def _about(picture):
  """What the page is told of a picture that was sent, or None."""
  names = ('id', 'name', 'width', 'height')
  return picture and {name: getattr(picture, name) for name in names}


def _pixels(size):
  height, width = size
  return f'{width} px' if width == height else f'{width} × {height} px'


def _json(value):
  return server.Response(
    body=json.dumps(value).encode(), kind='application/json; charset=utf-8'
  )


def _png(data):
  if not data:
    return server.line(404, 'error: there is no such picture')
  # Its address has a number that changes with the picture.
  return server.Response(body=data, kind='image/png', keep=_DAY)


def _download(name, data, kind='application/octet-stream'):
  name = urllib.parse.quote(name)
  where = ('Content-Disposition', f"attachment; filename*=UTF-8''{name}")
  return server.Response(body=data, kind=kind, headers=(where,))

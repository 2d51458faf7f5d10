"""What a browser asks for and gets: Request -> Response.

GET  /                    the page
GET  /state?run=R&after=N what changed since state N, waiting for it: JSON
GET  /look/JOB/64         what a stage's picture is by now
GET  /small/JOB           a finished picture for the history
GET  /png/JOB             the picture, with its recipe; ?save=1 as a download
GET  /source/ID           a picture to start from, small
POST /draw                takes an order: JSON with its id
POST /stop, /forget       a job, out of the queue or the history
POST /source?name=...     takes a picture to start from: JSON with its id

What is wrong with a request is said in one line of plain text. Nothing in it
becomes the name of a file.
"""

import html
import json
import urllib.parse

from imagen_jax import edits, pictures, presets, stages
from imagen_jax.pages import frame, server
from imagen_jax.serving import drawing, orders, sources, writing

FILES = {'/source': sources.BYTES}  # of `server.listen`
_WAIT = 10.0  # seconds that a browser is kept waiting for news
_DAY = 86400
# Shown where nothing was drawn yet, if the cascade knows the words.
_EXAMPLES = (
  'a red fox at sunset',
  'two pink keys under a night sky',
  'a big yellow house next to a tree on the beach',
)


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
      'Imagen', _body(studio.cascade, kept), 'serve.js', 'serve.css'
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
          return _download(job)
        return _png(job and job.png)
      case 'GET', ['source', id]:
        picture = self._find(id)
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
    size = {'width': picture.width, 'height': picture.height}
    return _json({'id': picture.id, 'name': picture.name, **size})

  def _find(self, id):
    """A picture to start from: one that was sent, or that was drawn here."""
    if picture := self._sources.get(id):
      return picture
    job = self._studio.get(id)
    if not (job and job.png):
      return None
    side = self._sizes(job)[-1]
    return sources.Picture(
      id=id,
      name=_name(job),
      data=job.png,
      width=side,
      height=side,
      small=self._studio.small(id),
    )

  def _done(self, there):
    if there:
      return _json({})
    return server.line(404, 'error: that picture is not here any more')

  def _sizes(self, job):
    return [
      s.resolution for s in self._studio.cascade.stages[: len(job.order.plan)]
    ]

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
    return {
      'id': job.id,
      'state': 'stopping' if job.stop and job.state == 'drawing' else job.state,
      'changed': job.changed,
      'prompt': order.prompt,
      'negative': order.negative or '',
      'seed': order.seed,
      'sizes': self._sizes(job),
      'all': [sampling.steps for sampling in order.plan],
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
  return f'{pictures.slug(job.order.prompt)}_seed{job.order.seed}.png'


def _json(value):
  return server.Response(
    body=json.dumps(value).encode(), kind='application/json; charset=utf-8'
  )


def _png(data):
  if not data:
    return server.line(404, 'error: there is no such picture')
  # Its address has a number that changes with the picture.
  return server.Response(body=data, kind='image/png', keep=_DAY)


def _download(job):
  name = urllib.parse.quote(_name(job))
  where = ('Content-Disposition', f"attachment; filename*=UTF-8''{name}")
  return server.Response(body=job.png, kind='image/png', headers=(where,))


def _body(cascade, kept):
  """The page's HTML: the form, and room for what the script puts in."""
  sizes = [stage.resolution for stage in cascade.stages]
  where = (
    f'Pictures are kept in {kept}, the last ones here as well.'
    if kept
    else 'Pictures stay in memory until the server stops; save those you want.'
  )
  return (
    '<header class="top"><h1>Imagen</h1><p>'
    f'{" → ".join(map(str, sizes))} pixels, drawn where this page comes from. '
    'Nothing is sent anywhere else.</p></header>'
    '<noscript><p class="notice">This page needs JavaScript, its own alone: '
    'please allow it, or use python -m imagen_jax.sample.</p></noscript>'
    f'<main class="studio">{_form(cascade)}{_VIEW}'
    '<section class="history" aria-labelledby="history-title">'
    '<h2 id="history-title">History</h2>'
    f'<p class="hint" id="empty">{html.escape(where)}</p>'
    '<ul id="history"></ul></section></main>'
    '<p class="unseen" role="status" id="news"></p>'
    '<dialog aria-label="The picture at full size"><img alt="">'
    '<button type="button">Close</button></dialog>'
  )


def _form(cascade):
  data = html.escape(json.dumps(_presets(cascade)))
  known = ''
  if cascade.words is not None:
    words = ', '.join(sorted(cascade.words))
    known = (
      '<details class="words"><summary>Words that this cascade knows</summary>'
      f'<p>{html.escape(words)}</p></details>'
    )
  return (
    f'<form id="order" class="card" method="post" action="/draw" '
    f'autocomplete="off" novalidate data-presets="{data}">'
    '<label class="wide" for="prompt">What to draw</label>'
    f'<textarea id="prompt" name="prompt" rows="3" '
    f'maxlength="{orders.LONGEST}" aria-describedby="prompt-hint"></textarea>'
    '<p class="hint" id="prompt-hint">Enter draws; Shift and Enter begin a '
    'new line.</p><p class="notice" id="wrong" role="alert" hidden></p>'
    f'<button id="draw">Draw</button>{_examples(cascade)}'
    f'<div class="row">{_select("preset", "Preset", _names(cascade))}'
    f'{_select("upto", "Size", _upto(cascade))}'
    '<label>Seed<input name="seed" inputmode="numeric" placeholder="random">'
    f'</label></div>{_stages(cascade)}{_more()}{known}</form>'
  )


def _stages(cascade):
  """The table of the numbers that each stage has."""
  rows = []
  for stage in cascade.stages:
    r = stage.resolution
    cells = [f'<th scope="row">{r} px</th>']
    for name, (label, _) in _COLUMNS.items():
      if name == 'aug_level' and stage.low_res is None:
        cells.append('<td class="none">–</td>')
        continue
      mode = 'numeric' if name == 'steps' else 'decimal'
      cells.append(
        f'<td><input name="{name}_{r}" inputmode="{mode}" '
        f'aria-label="{label}, {r} px"></td>'
      )
    rows.append(f'<tr data-size="{r}">{"".join(cells)}</tr>')
  heads = ''.join(
    f'<th scope="col" title="{title}">{label}</th>'
    for label, title in _COLUMNS.values()
  )
  return (
    '<table class="stages"><caption>Each stage; what is left empty is the '
    f"preset's</caption>"
    f'<thead><tr><th scope="col">Stage</th>{heads}</tr></thead>'
    f'<tbody>{"".join(rows)}</tbody></table>'
  )


_COLUMNS = {
  'steps': ('Steps', 'Times that the network looks at the picture'),
  'guidance': ('Guidance', 'How closely to follow the sentence; 1 is off'),
  'aug_level': (
    'Noise',
    'On the picture that a stage starts from, 0 to 1: more frees its hand',
  ),
}


def _more():
  samplers = [('', 'as the preset'), *((s, s) for s in stages.SAMPLERS)]
  thresholds = [('', 'as the preset'), *((s, s) for s in stages.THRESHOLDS)]
  return (
    '<details class="more"><summary>More settings</summary>'
    '<label class="wide">What to avoid<input name="negative" '
    f'maxlength="{orders.LONGEST}" placeholder="nothing"></label>'
    '<div class="row start"><label>Picture to start from'
    '<input type="file" id="file" accept="image/*"></label>'
    '<label>Strength<input name="strength" inputmode="decimal" '
    f'placeholder="{edits.STRENGTH}"></label></div>'
    '<p class="chosen" id="chosen" hidden><img alt=""><span></span>'
    '<button type="button" class="quiet">Leave out</button></p>'
    '<input type="hidden" name="picture">'
    f'<div class="row">{_select("sampler", "Solver", samplers)}'
    f'{_select("threshold", "Threshold", thresholds)}</div></details>'
  )


def _select(name, label, choices):
  options = ''.join(
    f'<option value="{html.escape(str(value))}">{html.escape(text)}</option>'
    for value, text in choices
  )
  return f'<label>{label}<select name="{name}">{options}</select></label>'


def _names(cascade):
  known = presets.PRESETS | dict(cascade.presets)
  return [('', 'default'), *((name, name) for name in known)]


def _upto(cascade):
  sizes = [stage.resolution for stage in cascade.stages]
  last = [('', f'{sizes[-1]} px')]
  return [*last, *((size, f'{size} px') for size in reversed(sizes[:-1]))]


def _examples(cascade):
  some = [e for e in _EXAMPLES if not _unknown(e, cascade)]
  if not some:
    return ''
  buttons = ''.join(
    f'<button type="button" class="chip">{html.escape(e)}</button>'
    for e in some
  )
  return f'<div class="examples"><span>Try</span>{buttons}</div>'


def _unknown(sentence, cascade):
  return cascade.words is not None and set(sentence.split()) - cascade.words


def _presets(cascade):
  """{preset: {field: number}}: what the empty fields of the table mean."""
  table = {}
  for name, _ in _names(cascade):
    plan = cascade.plan(preset=name or None)
    table[name] = {
      f'{field}_{stage.resolution}': f'{getattr(sampling, field):g}'
      for stage, sampling in zip(cascade.stages, plan)
      for field in orders.EACH
    }
  return table


_VIEW = (
  '<section class="view" aria-label="Picture" id="view">'
  '<a class="picture" id="picture" href="#view"><img alt="" hidden>'
  '<span id="nothing">Your picture appears here, stage by stage.</span></a>'
  '<ol class="ladder" id="ladder" hidden></ol>'
  '<div class="about" id="about" hidden><p class="now" id="now"></p>'
  '<h2 class="said" id="said" dir="auto"></h2><p class="notice" id="failed" '
  'hidden></p><ul class="remarks" id="remarks"></ul>'
  '<div class="do"><button type="button" id="stop">Stop</button>'
  '<a class="button" id="save">Save PNG</a>'
  '<button type="button" class="quiet" id="another">Another seed</button>'
  '<button type="button" class="quiet" id="again">Edit settings</button>'
  '<button type="button" class="quiet" id="start">Start from it</button>'
  '<button type="button" class="quiet" id="forget">Remove</button></div>'
  '<details id="recipe"><summary>Recipe</summary>'
  '<p class="hint">Draws the same picture again; the PNG holds it too.</p>'
  '<h3 id="command-title">Command line</h3><div class="code">'
  '<pre tabindex="0" aria-labelledby="command-title" id="command"></pre>'
  '<button type="button" class="quiet" data-copy="command">Copy<span '
  'class="unseen"> the command line</span></button></div>'
  '<h3 id="python-title">Python</h3><div class="code">'
  '<pre tabindex="0" aria-labelledby="python-title" id="python"></pre>'
  '<button type="button" class="quiet" data-copy="python">Copy<span '
  'class="unseen"> the Python lines</span></button></div></details></div>'
  '</section>'
)

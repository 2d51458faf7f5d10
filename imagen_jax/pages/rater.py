"""What a rater sees: the pages, and what their forms do.

GET  /                       what to do next: begin, rate, pause, end
POST /begin                  takes a rater in, with a cookie
POST /vote                   stores the answers, then leads back to /
POST /next                   goes on after a pause
GET  /picture/TICKET/left/0  a picture of what was shown, left or right

Names of models, files and trials never reach the browser; a ticket stands for
what one rater was shown. All of it works without scripts.
"""

import html
import sys

from imagen_jax.evaluation.ratings import pictures, studies, votes
from imagen_jax.pages import frame, server

_DAYS = 90  # that a rater may come back
_SIDES = ('left', 'right')


class RatingPage:
  """The page of one study: Request -> Response."""

  def __init__(
    self, study: studies.Study, cast: votes.Votes, store: pictures.Store
  ):
    self._study = study
    self._votes = cast
    self._store = store
    # Cookies are shared by all ports of a machine; studies must not be.
    self._cookie = f'rater_{study.id[:12]}'

  def __call__(self, request: server.Request) -> server.Response:
    try:
      return self._answer(request)
    except votes.NeverShown as e:
      return self._said(403, str(e))
    except votes.NotStored as e:
      return self._said(503, f'{e}; nothing was stored')

  def _answer(self, request):
    key = request.cookies.get(self._cookie, '')
    rater = self._votes.rater(key) if key else None
    match request.method, request.path.split('/')[1:]:
      case 'GET', ['']:
        return self._home(rater)
      case 'GET', ['picture', ticket, side, number]:
        return self._picture(rater, ticket, side, number)
      case 'GET', [name] if found := frame.asset(name):
        return found
      case 'POST', ['begin']:
        if rater is None:
          cookie = server.cookie(self._cookie, self._votes.begin(), _DAYS)
          return server.go_to('/', cookie)
        return server.go_to('/')
      case 'POST', ['vote']:
        return self._vote(rater, request.form)
      case 'POST', ['next']:
        if rater is not None:
          self._votes.show(rater)
        return server.go_to('/')
    return self._said(404, 'there is no such page')

  def _home(self, rater):
    if rater is None:
      return self._document('Rate pictures', _begin(self._study))
    shown = self._votes.current(rater)
    if shown is None:
      position = self._votes.position(rater)
      borders = self._study.borders(rater)
      if position == borders[-1]:
        return self._document('Thank you', _end(position))
      if position and position in borders:
        return self._document('A pause', _pause(position, borders[-1]))
      shown = self._votes.show(rater)
    title, body = _rating(self._study, rater, shown)
    return self._document(f'{title} - Rate pictures', body, 'rate.js')

  def _vote(self, rater, form):
    if rater is None:
      raise votes.NeverShown('you have not begun yet; nothing was stored')
    ticket = form.get('ticket', '')
    shown = self._votes.find(rater, ticket)
    answers = {}
    for question in self._study.protocol.questions:
      if question.name in form:
        said = form[question.name]
        answers[question.name] = _meant(said, question, shown.left)
    try:
      self._votes.cast(rater, ticket, answers)
    except votes.NotStored:
      raise
    except ValueError as e:
      return self._said(400, f'{e}; nothing was stored')
    return server.go_to('/')

  def _picture(self, rater, ticket, side, number):
    if rater is None or side not in _SIDES or not number.isdecimal():
      return server.line(404, 'error: there is no such picture')
    shown = self._votes.find(rater, ticket)
    some = _on(self._study.trials[shown.trial], side, shown.left)
    if int(number) >= len(some):
      return server.line(404, 'error: there is no such picture')
    try:
      data = self._store.png(some[int(number)])
    except ValueError as e:
      print(f'error: {e}', file=sys.stderr)
      return server.line(500, 'error: this picture cannot be shown')
    return server.Response(body=data, kind='image/png', keep=3600)

  def _said(self, status, said):
    body = (
      f'<main class="card"><h1>That did not work</h1><p role="alert">'
      f'{html.escape(said)}</p><p><a href="/">Go on</a></p></main>'
    )
    response = self._document('That did not work', body)
    return server.Response(status=status, body=response.body)

  def _document(self, title, body, script=None):
    if self._study.simulated:
      body = (
        '<p class="notice">Simulated study: scripts vote here. What they '
        'answer is no preference of people.</p>' + body
      )
    scripts = (script,) if script else ()
    page = frame.document(title, body, scripts, 'rate.css')
    return server.Response(body=page)


def _meant(said, question, left):
  """'left' -> the side that was there; other answers are themselves."""
  if 'a' in question.answers and said in _SIDES:
    other = 'b' if left == 'a' else 'a'
    return left if said == 'left' else other
  # A form that names a side itself was not made by this page.
  return said if said not in ('a', 'b') else f'{said}?'


def _on(trial, side, left):
  """The pictures that are shown on the left or on the right."""
  if not trial.a or not trial.b:  # one at a time: it is on the left
    return (trial.a or trial.b) if side == 'left' else ()
  return getattr(trial, left if side == 'left' else 'b' if left == 'a' else 'a')


def _begin(study):
  protocol = study.protocol
  batch = len(study.batches[0])
  if protocol.single:
    task = 'You see one picture at a time and say whether its caption fits.'
  elif protocol.sets:
    task = 'You see two sets of pictures, one on each side, and compare them.'
  else:
    task = 'You see two pictures side by side and compare them.'
  asked = ''.join(f'<li>{html.escape(q.text)}</li>' for q in protocol.questions)
  return (
    f'<main class="card"><h1>Rate pictures</h1><p>{task} The '
    f'question{"s" if len(protocol.questions) > 1 else ""}:</p>'
    f'<ul>{asked}</ul>'
    '<p>Sides are mixed at random. A picture can be enlarged by a click or a '
    'tap.</p>'
    f'<p>There are {batch} to rate'
    f'{" before the first pause" if len(study.batches) > 1 else ""}. '
    'Each answer is stored at once: you can stop at any time, and go on in the '
    'same browser where you left off.</p>'
    '<form method="post" action="/begin"><button>Begin</button></form></main>'
  )


def _pause(position, total):
  return (
    '<main class="card"><h1>Thank you: this part is done</h1>'
    f'<p>You rated {position} of {total}. All is stored; you can close this '
    'page, or take another part.</p>'
    '<form method="post" action="/next"><button>Take another part</button>'
    '</form></main>'
  )


def _end(position):
  return (
    '<main class="card"><h1>Thank you: all is done</h1>'
    f'<p>You rated all {position}. Everything is stored; you can close this '
    'page.</p></main>'
  )


def _rating(study, rater, shown):
  """(title, HTML) of what is to be rated."""
  trial, protocol = study.trials[shown.trial], study.protocol
  borders = study.borders(rater)
  part = max(n for n, border in enumerate(borders) if border <= shown.position)
  done = shown.position - borders[part]
  size = borders[part + 1] - borders[part]
  what = 'Picture' if protocol.single else 'Pair'
  title = f'{what} {done + 1} of {size}'
  if len(borders) > 2:
    title += f', part {part + 1}'
  sides = ''.join(
    _side(trial, side, shown, protocol.single)
    for side in (_SIDES[:1] if protocol.single else _SIDES)
  )
  caption = ''
  if protocol.caption:
    said = html.escape(trial.prompt) or '(an empty caption)'
    caption = f'<p class="caption"><span>Caption</span><q dir="auto">{said}</q>'
    caption += '</p>'
  body = (
    f'<main><div class="where"><h1>{title}</h1><progress aria-label='
    f'"Progress" value="{done}" max="{size}"></progress></div>{caption}'
    f'<div class="sides{" one" if protocol.single else ""}">{sides}</div>'
    f'{_form(protocol, shown)}</main>'
    '<dialog aria-label="Enlarged picture"><img alt=""><button>Close</button>'
    '</dialog>'
  )
  return title, body


def _side(trial, side, shown, alone):
  """The figure with the pictures of a side."""
  some = _on(trial, side, shown.left)
  name = 'Picture' if alone else f'{side.capitalize()} picture'
  links = []
  for number in range(len(some)):
    alt = name if len(some) == 1 else f'{name} {number + 1} of {len(some)}'
    where = f'/picture/{shown.ticket}/{side}/{number}'
    links.append(
      f'<a class="picture" href="{where}" title="Enlarge">'
      f'<img src="{where}" alt="{alt}"></a>'
    )
  under = '' if alone else f'<figcaption>{side.capitalize()}</figcaption>'
  many = ' many' if len(some) > 1 else ''
  return (
    f'<figure><div class="set{many}">{"".join(links)}</div>{under}</figure>'
  )


def _form(protocol, shown):
  """The questions."""
  asked = []
  for question in protocol.questions:
    values = question.answers
    if 'a' in values:
      values = [{'a': 'left', 'b': 'right'}.get(v, v) for v in values]
    choices = ''.join(
      f'<label><input type="radio" name="{question.name}" value="{value}" '
      f'required><span>{label} <kbd aria-hidden="true" hidden>{number}</kbd>'
      '</span></label>'
      for number, (value, label) in enumerate(
        zip(values, question.labels), start=1
      )
    )
    asked.append(
      f'<fieldset><legend>{html.escape(question.text)}</legend>'
      f'<div class="choices">{choices}</div></fieldset>'
    )
  one = ' one' if len(asked) == 1 else ''
  return (
    f'<form class="vote{one}" method="post" action="/vote" autocomplete="off">'
    f'<input type="hidden" name="ticket" value="{shown.ticket}">'
    f'{"".join(asked)}<div class="send"><button>Next</button>'
    '<label hidden><input type="checkbox" id="keys"> keys 1 2 3 or arrows '
    'answer, Enter sends</label></div></form>'
  )

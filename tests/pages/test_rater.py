"""The rating page over HTTP: blind, resumable, and each vote once."""

import collections
import html
import re
import sqlite3
import threading
import urllib.parse

import pytest

from imagen_jax.evaluation.ratings import archive, pictures
from imagen_jax.pages import rater, server
from tests.support import browsing, studio

LEFT = {'quality': 'left', 'caption': 'left'}


@pytest.fixture
def study(tmp_path):
  """(open votes, address) of a served study of four pairs."""
  with _served(tmp_path) as found:
    yield found


def _served(tmp_path, *args, **settings):
  opened = studio.opened(tmp_path, *args, **settings)
  kind = opened.study.protocol
  roots = {
    'a': tmp_path / 'model_a',
    'b': tmp_path / ('real' if kind.photographs else 'model_b'),
  }
  store = pictures.Store(roots, opened.study.size)
  show = rater.RatingPage(opened.study, opened, store)
  return browsing.served(show, opened)


def _begun(address):
  visitor = browsing.Visitor(address)
  visitor.post('/begin')
  return visitor


def test_a_rater_is_led_from_the_beginning_to_the_end(study):
  opened, address = study
  visitor = browsing.Visitor(address)
  said = visitor.get('/')
  assert 'action="/begin"' in said and 'There are 4 to rate' in said
  assert not visitor.cookies
  visitor.post('/begin')
  titles = []
  for _ in range(4):
    said = visitor.get('/')
    titles.append(re.search('<h1>(.*?)</h1>', said)[1])
    assert visitor.post('/vote', ticket=visitor.ticket(), **LEFT) == 303
  assert titles == [f'Pair {n} of 4' for n in (1, 2, 3, 4)]
  assert 'all is done' in visitor.get('/')
  assert opened.counts() == (1, 8)


def test_left_and_right_are_undone_as_they_fell(study):
  """A vote for the left one is for whatever was there."""
  opened, address = study
  for _ in range(3):
    visitor = _begun(address)
    for _ in range(4):
      visitor.get('/')
      visitor.post(
        '/vote', ticket=visitor.ticket(), quality='left', caption='right'
      )
  for vote in opened.all():
    on_the_left = vote.answer == vote.left
    assert on_the_left == (vote.question == 'quality')
  assert {v.answer for v in opened.all() if v.question == 'quality'} == {
    'a',
    'b',
  }


def test_the_pictures_on_the_page_are_those_of_the_sides(study):
  opened, address = study
  visitor = _begun(address)
  visitor.get('/')
  ticket = visitor.ticket()
  shown = opened.find(1, ticket)
  trial = opened.study.trials[shown.trial]
  for side in ('left', 'right'):
    own = 'a' if (shown.left == 'a') == (side == 'left') else 'b'
    folder = opened.path.parent / f'model_{own}'
    (picture,) = getattr(trial, own)
    expected = pictures.Store({own: folder}, None).png(picture)
    assert visitor.picture(ticket, side) == expected
  assert visitor.status(f'/picture/{ticket}/left/1') == 404
  assert visitor.status(f'/picture/{ticket}/middle/0') == 404
  assert visitor.status(f'/picture/{ticket}/left/-1') == 404


def test_nothing_tells_which_is_which(study):
  opened, address = study
  visitor = _begun(address)
  said = visitor.get('/')
  for secret in ('model_a', 'model_b', '0_0', '1_0', '.png', opened.study.id):
    assert secret not in said
  sources = re.findall('src="(/picture[^"]*)"', said)
  assert sources == [
    f'/picture/{visitor.ticket()}/{side}/0' for side in ('left', 'right')
  ]


def test_a_caption_is_text(study):
  """Whatever a prompt holds, it does not become part of the page."""
  _, address = study
  visitor, said = _begun(address), []
  for _ in range(4):
    said.append(visitor.get('/'))
    visitor.post('/vote', ticket=visitor.ticket(), **LEFT)
  said = ''.join(said)
  assert 'two &lt;b&gt;keys&lt;/b&gt;' in said and '<b>' not in said
  captions = re.findall('<q dir="auto">(.*?)</q>', said)
  assert sorted(map(html.unescape, captions)) == sorted(studio.PROMPTS)


def test_a_reload_shows_the_same(study):
  opened, address = study
  visitor = _begun(address)
  first = visitor.get('/')
  assert visitor.get('/') == first
  same = browsing.Visitor(address, visitor.cookies)  # the browser came back
  assert same.get('/') == first
  assert opened.position(1) == 1


def test_a_double_submit_counts_once(study):
  opened, address = study
  visitor = _begun(address)
  visitor.get('/')
  ticket, statuses = visitor.ticket(), []

  def send():
    statuses.append(
      browsing.Visitor(address, visitor.cookies).post(
        '/vote', ticket=ticket, **LEFT
      )
    )

  threads = [threading.Thread(target=send) for _ in range(6)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert statuses == [303] * 6 and opened.counts() == (1, 2)
  # It does not carry over to the next pair either.
  assert 'Pair 2 of 4' in visitor.get('/')


def test_votes_for_what_was_never_shown(study):
  opened, address = study
  one, other = _begun(address), _begun(address)
  one.get('/')
  other.get('/')
  assert other.post('/vote', ticket=one.ticket(), **LEFT) == 403
  assert 'never shown to you; nothing was stored' in other.said
  assert other.post('/vote', ticket='guess', **LEFT) == 403
  assert other.status(f'/picture/{one.ticket()}/left/0') == 403
  stranger = browsing.Visitor(address)
  assert stranger.post('/vote', ticket=one.ticket(), **LEFT) == 403
  assert stranger.status(f'/picture/{one.ticket()}/left/0') == 404
  assert opened.counts() == (0, 0)


@pytest.mark.parametrize(
  ('form', 'said'),
  [
    ({'quality': 'left'}, 'no answer to: Which fits the caption better?'),
    ({'quality': 'left', 'caption': 'a'}, 'is no answer to'),
    ({'quality': 'b', 'caption': 'left'}, 'is no answer to'),
    ({'quality': 'left', 'caption': '<script>'}, '&lt;script&gt;'),
  ],
)
def test_forms_that_make_no_sense(study, form, said):
  opened, address = study
  visitor = _begun(address)
  visitor.get('/')
  assert visitor.post('/vote', ticket=visitor.ticket(), **form) == 400
  assert said in visitor.said and 'nothing was stored' in visitor.said
  assert opened.counts() == (0, 0)


def test_a_locked_file_loses_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr(archive, 'WAIT', 0.05)
  with _served(tmp_path) as (opened, address):
    visitor = _begun(address)
    visitor.get('/')
    form = {'ticket': visitor.ticket(), **LEFT}
    holder = sqlite3.connect(opened.path, isolation_level=None)
    holder.execute('BEGIN IMMEDIATE')
    assert visitor.post('/vote', **form) == 503
    assert 'locked by another program' in visitor.said
    assert 'nothing was stored' in visitor.said
    holder.execute('ROLLBACK')
    holder.close()
    assert opened.counts() == (0, 0)
    assert visitor.post('/vote', **form) == 303 and opened.counts() == (1, 2)


def test_several_raters_have_orders_of_their_own(study):
  opened, address = study
  visitors = [_begun(address) for _ in range(5)]
  orders = collections.defaultdict(list)
  for _ in range(4):
    for visitor in visitors:  # in turn
      visitor.get('/')
      orders[visitor].append(
        opened.find(visitors.index(visitor) + 1, visitor.ticket()).trial
      )
      visitor.post('/vote', ticket=visitor.ticket(), **LEFT)
  assert all(sorted(order) == [0, 1, 2, 3] for order in orders.values())
  assert len({tuple(order) for order in orders.values()}) > 1
  assert opened.counts() == (5, 40)


def test_a_pause_between_batches(tmp_path):
  with _served(tmp_path, batch=3) as (opened, address):
    visitor = _begun(address)
    for n in (1, 2, 3):
      assert f'Pair {n} of 3, part 1' in visitor.get('/')
      visitor.post('/vote', ticket=visitor.ticket(), **LEFT)
    said = visitor.get('/')
    assert 'You rated 3 of 4' in said and 'action="/next"' in said
    assert visitor.get('/') == said and opened.position(1) == 3
    assert visitor.post('/next') == 303
    assert 'Pair 1 of 1, part 2' in visitor.get('/')


def test_sets_and_single_pictures(tmp_path):
  with _served(tmp_path / 'x', 'drawbench', count=3) as (_, address):
    said = _begun(address).get('/')
    assert said.count('<img src="/picture/') == 6
    assert 'alt="Left picture 2 of 3"' in said
  with _served(tmp_path / 'y', 'coco_alignment') as (opened, address):
    visitor = _begun(address)
    said = visitor.get('/')
    assert said.count('<img src="/picture/') == 1 and 'alt="Picture"' in said
    assert visitor.status(f'/picture/{visitor.ticket()}/right/0') == 404
    assert (
      visitor.post('/vote', ticket=visitor.ticket(), fits='somewhat') == 303
    )
    assert [v.answer for v in opened.all()] == ['somewhat']
  with _served(tmp_path / 'z', 'coco_quality') as (_, address):
    said = _begun(address).get('/')
    assert 'No preference' not in said and 'class="caption"' not in said


def test_a_simulated_study_says_so_on_every_page(tmp_path, study):
  notice = 'Simulated study: scripts vote here'
  assert notice not in browsing.Visitor(study[1]).get('/')
  with _served(tmp_path / 's', simulated=True) as (opened, address):
    visitor = _begun(address)
    assert notice in visitor.get('/')
    visitor.post('/vote', ticket=visitor.ticket(), **LEFT)
    assert notice in browsing.Visitor(address).get('/')
    assert all(vote.simulated for vote in opened.all())
    rows = opened._db.execute('SELECT simulated FROM raters').fetchall()
    assert rows == [(1,)]


def test_a_picture_that_was_changed_meanwhile(study, capsys):
  opened, address = study
  visitor = _begun(address)
  visitor.get('/')
  studio.pictures(opened.path.parent / 'model_a', value=77)
  studio.pictures(opened.path.parent / 'model_b', value=77)
  assert visitor.status(f'/picture/{visitor.ticket()}/left/0') == 500
  assert 'was changed after the study began' in capsys.readouterr().err


def test_every_control_has_a_name(study):
  """Labels, legends, alternative texts, language, one heading."""
  visitor = _begun(study[1])
  said = visitor.get('/')
  assert '<html lang="en">' in said and said.count('<h1>') == 1
  assert '<title>Pair 1 of 4 - Rate pictures</title>' in said
  assert said.count('<legend>') == said.count('<fieldset>') == 2
  radios = re.findall('<label><input type="radio"[^>]*required><span>', said)
  assert len(radios) == 6
  assert not re.search('<img(?![^>]*alt=)', said)
  assert 'name="viewport" content="width=device-width, initial-scale=1"' in said


def test_nothing_comes_from_elsewhere(study):
  """No address but the page's own, in HTML, style and script."""
  visitor = _begun(study[1])
  for path in ('/', '/style.css', '/rate.css', '/rate.js'):
    said = visitor.get(path)
    assert not re.search(r'https?:|//[a-z]|@import|url\(', said), path
    assert ' style="' not in said and ' onclick' not in said
  assert visitor.status('/favicon.ico') == 204
  assert visitor.status('/../rate.py') == 404
  assert visitor.status('/nothing') == 404


def test_paths_of_other_files_are_no_pages(study):
  visitor = browsing.Visitor(study[1])
  for path in ('/server.py', '/%2e%2e/server.py', '/style.css/..', '//x'):
    assert visitor.status(urllib.parse.quote(path, '/%')) == 404
  assert isinstance(
    rater.RatingPage(study[0].study, study[0], None)(
      server.Request(method='POST', path='/')
    ),
    server.Response,
  )

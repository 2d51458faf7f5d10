"""What a browser gets: the page, the news, the pictures; what it may not."""

import io
import json
import re

import numpy as np
import PIL.Image
import pytest

from imagen_jax import sample
from imagen_jax.files import pictures
from imagen_jax.pages.playground import drawing, sources
from imagen_jax.sampling import cascade as cascade_lib
from tests.support import painting, tiny_cascade

FOX, KEYS, CAR = tiny_cascade.CAPTIONS


@pytest.fixture(scope='module')
def guest():
  """Of a studio that draws as fast as it is asked to."""
  painter = painting.Painter()
  painter.go(100_000)
  with painting.served(painter) as (_, address):
    yield painting.Guest(address)


def test_the_page_and_all_that_it_needs(guest):
  text = guest.get('/').decode()
  assert not re.search(r'(src|href)="(?!/|#)', text)
  assert not re.search(r'https?:|//\w', text)
  assert '<script>' not in text and ' style=' not in text
  for name in re.findall(r'(?:src|href)="(/[\w.]+)"', text):
    said = guest.get(name).decode()
    assert not re.search(r'https?:|url\(|@import|innerHTML|eval\(', said)
  for name in ('steps_8', 'guidance_32', 'aug_level_16', 'seed', 'preset'):
    assert f'name="{name}"' in text
  assert 'name="aug_level_8"' not in text  # it starts from nothing


def test_the_page_tells_what_the_presets_are(guest):
  text = guest.get('/').decode()
  data = re.search(r'data-presets="([^"]*)"', text)[1].replace('&quot;', '"')
  found = json.loads(data)
  assert list(found) == ['', 'paper', 'fast', 'draft']
  assert found['']['steps_8'] == '5' and found['paper']['steps_8'] == '256'


def test_a_picture_is_drawn_and_reproduced(tmp_path, monkeypatch, capsys):
  """Of what is downloaded the sample command draws the same."""
  with painting.served(tiny_cascade.load()) as (_, address):
    guest = painting.Guest(address)
    id = guest.draw(CAR, seed='3', guidance_8='2.5', upto='16')
    job = guest.finished(id)
    assert (job['state'], job['said'], job['seed']) == ('done', '', 3)
    assert job['seen'] == job['sizes'] == [8, 16]
    status, headers, data = guest.ask('GET', f'/png/{id}?save=1')
  assert status == 200 and headers['Content-Type'] == 'image/png'
  name = 'a-blue-car-to-the-left-of-a-yellow-star_seed3.png'
  disposition = headers['Content-Disposition']
  assert disposition == f"attachment; filename*=UTF-8''{name}"
  path = tmp_path / name
  path.write_bytes(data)
  monkeypatch.setattr(
    cascade_lib, 'load_cascade', lambda *_, **__: tiny_cascade.load()
  )
  monkeypatch.setattr(sample.compilation, 'enable_cache', lambda: None)
  flags = [f'--reproduce={path}', f'--out={tmp_path}']
  assert sample.main(flags) == 0
  assert 'the same picture, bit for bit' in capsys.readouterr().out
  assert pictures.read_png(path)[1]['guidance'] == '2.5,3'


def test_what_is_told_of_a_picture(guest):
  id = guest.draw('a "red" <fox> & a dragon', preset='draft')
  job = guest.finished(id)
  assert job['prompt'] == 'a "red" <fox> & a dragon'
  assert 'dragon' in job['remarks'][0]
  assert job['fields'] == {'prompt': job['prompt'], 'preset': 'draft'}
  assert (
    'steps=[8, 2, 1]' in job['python'] and '--steps=8,2,1' in (job['command'])
  )
  for size in (8, 16, 32):
    seen = PIL.Image.open(io.BytesIO(guest.get(f'/look/{id}/{size}?n=1')))
    assert seen.size == (size, size)
  assert guest.get(f'/small/{id}').startswith(b'\x89PNG')


def test_a_name_in_other_letters(guest):
  id = guest.draw('два ключа')
  guest.finished(id)
  _, headers, _ = guest.ask('GET', f'/png/{id}?save=1')
  assert headers['Content-Disposition'].endswith('%D0%B0_seed' + (
    f'{guest.job(id)["seed"]}.png'
  ))  # fmt: skip


def test_only_news_are_sent(guest):
  id = guest.draw(FOX)
  guest.finished(id)
  news = json.loads(guest.get('/state'))
  again = painting.wait_for(lambda: json.loads(guest.get('/state')))
  assert again['number'] == news['number'] and id in again['ids']
  other = guest.draw(KEYS)
  where = f'/state?run={news["run"]}&after={news["number"]}'
  assert [job['id'] for job in json.loads(guest.get(where))['jobs']] == [other]
  # Of another run of the server the numbers mean nothing.
  for where in ('/state?run=other&after=9999', '/state?after=x&run='):
    assert len(json.loads(guest.get(where))['jobs']) > 1


def test_a_full_queue_says_so():
  painter = painting.Painter()
  with painting.served(painter, waiting=1) as (_, address):
    guest = painting.Guest(address)
    first = guest.draw(FOX)
    painting.wait_for(lambda: guest.job(first)['state'] == 'drawing')
    second = guest.draw(FOX)
    status, said = guest.post('/draw', prompt=FOX)
    assert status == 503
    assert said.startswith('error: 1 pictures wait already') and (
      said.count('\n') == 1
    )
    assert guest.post('/stop', job=first) == (200, '{}')
    assert guest.job(first)['state'] == 'stopping'
    painter.go(1)
    assert guest.finished(first)['state'] == 'stopped'
    painter.go(100)
    assert guest.finished(second)['state'] == 'done'
    assert guest.post('/forget', job=first)[0] == 200
    assert guest.post('/forget', job=first)[0] == 404
    assert json.loads(guest.get('/state'))['ids'] == [second]


@pytest.mark.parametrize(
  ('fields', 'said'),
  [
    ({'prompt': ''}, 'error: the prompt is empty; write what to draw\n'),
    ({'steps_8': '0'}, 'error: 8 px: steps is 0; it must be'),
    ({'guidance_8': 'nan'}, 'error: 8 px: guidance is nan; it must be'),
    ({'preset': 'best'}, "error: preset 'best' is not one of paper, fast"),
    ({'prompt': 'x' * 1001}, 'error: the prompt has 1001 characters'),
  ],
)
def test_bad_orders(fields, said, guest):
  before = json.loads(guest.get('/state'))['number']
  status, text = guest.post('/draw', **{'prompt': FOX, **fields})
  assert status == 400 and text.startswith(said) and text.count('\n') == 1
  assert json.loads(guest.get('/state'))['number'] == before


@pytest.mark.parametrize(
  ('method', 'path'),
  [
    ('GET', '/nothing'),
    ('GET', '/draw'),
    ('POST', '/'),
    ('GET', '/png/no-such-job'),
    ('GET', '/png/..%2f..%2fetc%2fpasswd'),
    ('GET', '/../../../etc/passwd'),
    ('GET', '/server.py'),
    ('GET', '/look/x/8'),
    ('GET', '/look/x/99999999999'),
    ('GET', '/small/x'),
    ('GET', '/source/x'),
    ('POST', '/stop'),
    ('POST', '/forget'),
  ],
)
def test_what_is_not_there(method, path, guest):
  if method == 'POST':
    assert guest.post(path, job='x')[0] == 404
  else:
    assert guest.ask('GET', path)[0] == 404


def test_a_picture_to_start_from(tmp_path):
  with painting.served(tiny_cascade.load()) as (_, address):
    guest = painting.Guest(address)
    status, said = guest.send(painting.file(color=(200, 0, 0)), 'a/b.png')
    sent = json.loads(said)
    assert status == 200 and (sent['name'], sent['width']) == ('b.png', 40)
    assert guest.get(f'/source/{sent["id"]}').startswith(b'\x89PNG')
    id = guest.draw(FOX, picture=sent['id'], strength='0', upto='16')
    job = guest.finished(id)
    assert (job['state'], job['from'], job['said']) == ('done', 'b.png', '')
    data = guest.get(f'/png/{id}')
    image, text = pictures.read_png(io.BytesIO(data))
    np.testing.assert_array_equal(image[8, 8], (200, 0, 0))
    assert text['edit'].startswith('from ')
    # One that was drawn here, by its id.
    other = guest.draw(FOX, picture=id, strength='0', upto='16')
    assert guest.finished(other)['from'] == guest.job(id)['file']
    again, _ = pictures.read_png(io.BytesIO(guest.get(f'/png/{other}')))
    np.testing.assert_array_equal(again, image)


def test_pictures_that_are_refused(guest):
  status, said = guest.send(b'no picture')
  assert (status, said) == (
    400, 'error: the file cannot be used: not a picture\n',
  )  # fmt: skip
  status, said = guest.send(b'0' * (sources.BYTES + 1))
  assert status == 413 and said.startswith('error: 8388609 bytes sent')
  # Another site's form can send these two kinds alone.
  for kind in ('text/plain', 'application/x-www-form-urlencoded'):
    status, _, _ = guest.ask('POST', '/source', b'x', **{'Content-Type': kind})
    assert status == 415


def test_limits_are_what_the_page_says(guest):
  assert drawing.WAITING == 8
  assert f'maxlength="{1000}"' in guest.get('/').decode()

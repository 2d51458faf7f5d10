"""Votes are on the disk when they are acknowledged, each once, unaltered."""

import sqlite3
import threading

import pytest

from imagen_jax.evaluation.ratings import archive, studies, votes
from tests.support import studio

BOTH = {'quality': 'a', 'caption': 'none'}


@pytest.fixture
def opened(tmp_path):
  """A study of four pairs."""
  opened = studio.opened(tmp_path)
  yield opened
  opened.close()


def _rater(opened):
  return opened.rater(opened.begin())


def _change(opened, statement, *values):
  with sqlite3.connect(opened.path) as db:
    db.execute(statement, values)
  db.close()


def test_another_program_sees_a_vote_at_once(opened):
  rater = _rater(opened)
  shown = opened.show(rater)
  assert opened.cast(rater, shown.ticket, BOTH)
  (mode,) = opened._db.execute('PRAGMA journal_mode').fetchone()
  (level,) = opened._db.execute('PRAGMA synchronous').fetchone()
  assert (mode, level) == ('wal', 2)  # 2 = FULL
  with sqlite3.connect(opened.path) as db:
    found = db.execute(
      'SELECT rater, trial, question, answer, simulated FROM votes'
    ).fetchall()
  db.close()
  assert found == [
    (rater, shown.trial, 'quality', 'a', 0),
    (rater, shown.trial, 'caption', 'none', 0),
  ]


def test_the_same_is_shown_until_it_is_answered(opened):
  rater = _rater(opened)
  shown = opened.show(rater)
  assert opened.show(rater) == opened.show(rater) == shown
  assert opened.current(rater) == shown
  opened.cast(rater, shown.ticket, BOTH)
  assert opened.current(rater) is None
  after = opened.show(rater)
  assert (after.position, after.trial) == (1, opened.study.order(rater)[1])
  assert after.ticket != shown.ticket


def test_a_vote_counts_once_and_the_first_stays(opened):
  rater = _rater(opened)
  shown = opened.show(rater)
  assert opened.cast(rater, shown.ticket, BOTH)
  assert not opened.cast(rater, shown.ticket, BOTH)
  assert not opened.cast(rater, shown.ticket, {'quality': 'b', 'caption': 'b'})
  assert [v.answer for v in opened.all()] == ['a', 'none']


def test_what_was_never_shown_is_refused(opened):
  """Neither an invented ticket nor another rater's counts."""
  one, other = _rater(opened), _rater(opened)
  shown = opened.show(one)
  opened.show(other)
  for rater, ticket in ((other, shown.ticket), (one, 'x'), (one, '')):
    with pytest.raises(votes.NeverShown, match='never shown to you'):
      opened.cast(rater, ticket, BOTH)
  assert opened.counts() == (0, 0)


@pytest.mark.parametrize(
  ('answers', 'said'),
  [
    ({'quality': 'a'}, 'no answer to: Which fits'),
    ({'quality': 'a', 'caption': 'yes'}, "'yes' is no answer to: Which fits"),
    ({}, 'no answer to: Which is the better picture'),
  ],
)
def test_half_an_answer_stores_nothing(opened, answers, said):
  rater = _rater(opened)
  shown = opened.show(rater)
  with pytest.raises(ValueError, match=said):
    opened.cast(rater, shown.ticket, answers)
  assert opened.counts() == (0, 0) and opened.current(rater) == shown


def test_keys_are_stored_as_hashes(opened):
  key = opened.begin()
  assert opened.rater(key) == 1 and opened.rater(key + 'x') is None
  stored = opened._db.execute('SELECT key_sha256 FROM raters').fetchall()
  assert stored == [(studies.digest(key),)] and key not in str(stored)


def test_raters_at_the_same_time(opened):
  """Threads share the file: everything is there, in one chain."""
  threads = [
    threading.Thread(target=studio.rate, args=(opened, lambda *_: 'b'))
    for _ in range(6)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  found = opened.all()
  assert opened.counts() == (6, 6 * 4 * 2) and len(found) == 48
  assert len({(v.rater, v.trial, v.question) for v in found}) == 48


def test_a_study_goes_on_where_it_was(tmp_path, opened):
  rater = _rater(opened)
  shown = opened.show(rater)
  opened.cast(rater, shown.ticket, BOTH)
  waiting = opened.show(rater)
  again = studio.opened(tmp_path)
  assert again.current(rater) == waiting
  assert again.cast(rater, waiting.ticket, BOTH)
  assert len(opened.all()) == 4
  again.close()


@pytest.mark.parametrize(
  ('settings', 'said'),
  [
    ({'seed': 3}, 'another study: seed 0, not 3'),
    ({'simulated': True}, 'simulated False, not True'),
    ({'num': 2}, 'protocol num None, batch None, not num 2, batch None'),
    ({'name': 'drawbench'}, 'protocol pairs v1, not drawbench v1'),
    ({'count': 2}, '4 trials, not 8'),
    ({'names': ['x', 'y']}, r"names \('model_a', 'model_b'\), not"),
  ],
)
def test_another_study_does_not_get_into_the_file(
  tmp_path, opened, settings, said
):
  with pytest.raises(ValueError, match=said):
    studio.opened(tmp_path, **settings)


def test_other_pictures_are_another_study(tmp_path, opened):
  roots = {s: tmp_path / f'model_{s}' for s in 'ab'}
  studio.pictures(roots['b'], studio.PROMPTS[:1], value=50)
  study = studies.define(roots, opened.study.protocol)
  with pytest.raises(ValueError, match='1 of 4 trials have other pictures'):
    archive.create(opened.path, study)


def test_a_definition_that_was_altered_is_refused(opened):
  text = opened.study.to_json()
  fair = '"seed": 0'
  assert fair in text
  _change(
    opened,
    "UPDATE study SET value = ? WHERE key = 'definition'",
    text.replace('"model_a", "model_b"', '"model_b", "model_a"'),
  )
  with pytest.raises(ValueError, match='was altered: the hash of its defin'):
    archive.load(opened.path)


@pytest.mark.parametrize(
  ('statement', 'vote'),
  [
    ("UPDATE votes SET answer = 'b' WHERE vote = 3", 3),
    ('UPDATE votes SET simulated = 1 WHERE vote = 1', 1),
    ('DELETE FROM votes WHERE vote = 2', 2),
    ("UPDATE votes SET digest = 'x' WHERE vote = 8", 8),
  ],
)
def test_a_vote_that_was_altered_is_found(opened, statement, vote):
  studio.rate(opened, lambda *_: 'a')
  archive.load(opened.path).close()
  _change(opened, statement)
  with pytest.raises(ValueError, match=f'was altered: vote {vote} of'):
    archive.load(opened.path)


def test_a_locked_file(opened, monkeypatch):
  monkeypatch.setattr(archive, 'WAIT', 0.05)
  second = archive.load(opened.path, write=True)
  holder = sqlite3.connect(opened.path, isolation_level=None)
  holder.execute('BEGIN IMMEDIATE')
  with pytest.raises(votes.NotStored, match='locked by another program'):
    second.begin()
  with pytest.raises(ValueError, match='is locked by another program; close'):
    archive.load(opened.path, write=True)
  archive.load(opened.path).close()  # a report only reads
  holder.execute('ROLLBACK')
  assert second.begin()
  holder.close()
  second.close()


def test_files_that_are_no_study(tmp_path, opened):
  text, other = tmp_path / 'text.sqlite', tmp_path / 'other.sqlite'
  text.write_text('no database, but long enough to be looked at. ' * 10)
  with sqlite3.connect(other) as db:
    db.execute('CREATE TABLE x (y)')
  db.close()
  for path, said in (
    (text, 'is no SQLite database, or a damaged one'),
    (other, 'is no study of imagen_jax.rate'),
    (tmp_path / 'none.sqlite', 'does not exist; no study was begun there'),
    (tmp_path, 'is a directory; give a file in it'),
  ):
    with pytest.raises(ValueError, match=said):
      archive.load(path)
  with pytest.raises(ValueError, match='cannot be written'):
    archive.create(tmp_path / 'no' / 'x.sqlite', opened.study)
  with pytest.raises(ValueError, match='no SQLite database'):
    archive.create(text, opened.study)
  with pytest.raises(ValueError, match='is a directory'):
    archive.create(tmp_path, opened.study)

"""Who was shown what, and who answered what: tables of a SQLite file.

raters                a number each; of the key in the cookie only a hash
shown                 rater, position, trial, side on the left; by ticket
votes                 rater, trial, question, answer; each with the hash of
                      itself and the one before

A vote is on the disk before `cast` returns. The file is opened in archive.py.
"""

import contextlib
import dataclasses
import datetime
import functools
import hashlib
import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Mapping

from imagen_jax.evaluation.ratings import studies


class NotStored(ValueError):
  """The file could not be written or read just now."""


class NeverShown(ValueError):
  """A vote for what this rater was not shown."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
  """What a rater was shown."""

  ticket: str
  position: int  # in the rater's order, from 0
  trial: int
  left: str  # side, 'a' or 'b'
  answered: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vote:
  """A row of the table, as reports read it."""

  rater: int
  trial: int
  question: str
  answer: str
  simulated: bool
  at: str
  left: str


class Votes:
  """The open file. Threads may share it; several processes too."""

  def __init__(self, path, study: studies.Study, connection):
    self.path = path
    self.study = study
    self._order = functools.lru_cache(256)(study.order)
    self._db = connection
    self._lock = threading.Lock()

  @contextlib.contextmanager
  def _transaction(self) -> Iterator[sqlite3.Connection]:
    """All of it is on the disk afterwards, or nothing."""
    with self._lock:
      try:
        self._db.execute('BEGIN IMMEDIATE')
        try:
          yield self._db
          self._db.execute('COMMIT')
        except BaseException:
          if self._db.in_transaction:
            self._db.execute('ROLLBACK')
          raise
      except sqlite3.Error as e:
        raise NotStored(plainly(self.path, e)) from e

  def begin(self) -> str:
    """Takes in a rater: the key for the cookie."""
    key = secrets.token_urlsafe(24)
    with self._transaction() as db:
      db.execute(
        'INSERT INTO raters (key_sha256, simulated, begun) VALUES (?, ?, ?)',
        (studies.digest(key), self.study.simulated, now()),
      )
    return key

  def rater(self, key: str) -> int | None:
    """The number of the rater with this key."""
    row = self._one(
      'SELECT rater FROM raters WHERE key_sha256 = ?', studies.digest(key)
    )
    return row and row[0]

  def current(self, rater: int) -> Shown | None:
    """What the rater was shown and has not answered yet."""
    return self._shown('rater = ? AND NOT answered', rater)

  def find(self, rater: int, ticket: str) -> Shown:
    """What the rater was shown by this ticket; raises NeverShown."""
    shown = self._shown('rater = ? AND ticket = ?', rater, ticket)
    if shown is None:
      raise NeverShown('this was never shown to you; nothing was stored')
    return shown

  def position(self, rater: int) -> int:
    """How many the rater was shown."""
    return self._one('SELECT count(*) FROM shown WHERE rater = ?', rater)[0]

  def show(self, rater: int) -> Shown | None:
    """The next one for the rater, noted; None where all were shown.

    While one is not answered, that one is the next.
    """
    order = self._order(rater)
    with self._transaction() as db:
      if shown := self._select(db, 'rater = ? AND NOT answered', rater):
        return shown
      (position,) = db.execute(
        'SELECT count(*) FROM shown WHERE rater = ?', (rater,)
      ).fetchone()
      if position == len(order):
        return None
      shown = Shown(
        ticket=secrets.token_urlsafe(12),
        position=position,
        trial=order[position],
        left=self.study.left(rater, order[position]),
      )
      db.execute(
        'INSERT INTO shown VALUES (?, ?, ?, ?, ?, ?)',
        (shown.ticket, rater, position, shown.trial, shown.left, now()),
      )
    return shown

  def cast(self, rater: int, ticket: str, answers: Mapping[str, str]) -> bool:
    """Stores the answers of a rater; False where they were given before.

    Args:
      rater: number.
      ticket: of what was shown; another's is NeverShown.
      answers: {question: answer} for every question of the protocol.
    """
    shown = self.find(rater, ticket)
    _check(self.study.protocol, answers)
    with self._transaction() as db:
      if db.execute(
        'SELECT 1 FROM votes WHERE rater = ? AND trial = ?',
        (rater, shown.trial),
      ).fetchone():
        return False
      before = db.execute(
        'SELECT digest FROM votes ORDER BY vote DESC LIMIT 1'
      ).fetchone()
      link = before[0] if before else self.study.id
      for question in self.study.protocol.questions:
        row = (
          rater,
          shown.trial,
          question.name,
          answers[question.name],
          int(self.study.simulated),
          now(),
        )
        link = _link(link, row)
        db.execute(
          'INSERT INTO votes (rater, trial, question, answer, simulated, at, '
          'digest) VALUES (?, ?, ?, ?, ?, ?, ?)',
          (*row, link),
        )
    return True

  def all(self) -> list[Vote]:
    """Every vote, in order; raises ValueError where one was altered."""
    rows = self._many(
      'SELECT v.rater, v.trial, question, answer, v.simulated, v.at, digest, '
      'left_side FROM votes v LEFT JOIN shown s ON s.rater = v.rater AND '
      's.trial = v.trial ORDER BY vote'
    )
    link, votes = self.study.id, []
    for number, (*row, stored, left) in enumerate(rows, start=1):
      link = _link(link, row)
      if link != stored or not 0 <= row[1] < len(self.study.trials):
        raise ValueError(
          f'{self.path} was altered: vote {number} of {len(rows)} is not the '
          'one that was cast, or one before it is gone; take a copy from before'
        )
      rater, trial, question, answer, simulated, at = row
      votes.append(
        Vote(
          rater=rater,
          trial=trial,
          question=question,
          answer=answer,
          simulated=bool(simulated),
          at=at,
          left=left,
        )
      )
    return votes

  def counts(self) -> tuple[int, int]:
    """(raters who voted, votes: one for each question)."""
    return self._one('SELECT count(DISTINCT rater), count(*) FROM votes')

  def close(self) -> None:
    with self._lock:
      self._db.close()

  def _one(self, query, *values):
    rows = self._many(query, *values)
    return rows[0] if rows else None

  def _many(self, query, *values):
    with self._lock:
      try:
        return self._db.execute(query, values).fetchall()
      except sqlite3.Error as e:
        raise NotStored(plainly(self.path, e)) from e

  def _shown(self, where, *values):
    with self._lock:
      try:
        return self._select(self._db, where, *values)
      except sqlite3.Error as e:
        raise NotStored(plainly(self.path, e)) from e

  def _select(self, db, where, *values):
    row = db.execute(
      'SELECT ticket, position, trial, left_side, answered FROM (SELECT *, '
      'EXISTS (SELECT 1 FROM votes v WHERE v.rater = s.rater AND v.trial = '
      f's.trial) AS answered FROM shown s) WHERE {where} LIMIT 1',
      values,
    ).fetchone()
    if row is None:
      return None
    ticket, position, trial, left, answered = row
    return Shown(
      ticket=ticket,
      position=position,
      trial=trial,
      left=left,
      answered=bool(answered),
    )


def _check(protocol, answers):
  """Raises ValueError unless every question has one of its answers."""
  for question in protocol.questions:
    answer = answers.get(question.name)
    if answer is None:
      raise ValueError(f'no answer to: {question.text}')
    if answer not in question.answers:
      raise ValueError(f'{answer[:20]!r} is no answer to: {question.text}')


def _link(before, row):
  """The hash of a vote and of all before it."""
  text = json.dumps([before, *row], ensure_ascii=False)
  return hashlib.sha256(text.encode()).hexdigest()


def now() -> str:
  """The time, UTC, ISO 8601."""
  time = datetime.datetime.now(datetime.UTC)
  return time.isoformat(timespec='milliseconds')


def plainly(path, error):
  """What SQLite complains of, and what to do."""
  text = str(error)
  if 'locked' in text or 'busy' in text:
    return f'{path} is locked by another program; close that and try again'
  if 'not a database' in text or 'malformed' in text:
    return f'{path} is no SQLite database, or a damaged one; give another'
  if 'unable to open' in text or 'readonly' in text:
    return f'{path} cannot be written ({text}); give another --out'
  return f'{path}: {text}'

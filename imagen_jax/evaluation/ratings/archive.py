"""The SQLite file of a study: begun, gone on with, read.

Beside the tables of votes.py it holds study(key, value): the definition and its
hash. A definition or a vote that was altered is refused. (The hashes are no
signature: whoever can write the file can compute them anew. A report prints
the study's id, to be noted elsewhere.)
"""

import dataclasses
import pathlib
import sqlite3
import urllib.parse

from imagen_jax.evaluation.ratings import studies, votes

WAIT = 5.0  # seconds for another program that holds the file
_OURS = 0x494D5254  # application_id, 'IMRT'

_TABLES = """
CREATE TABLE study (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE raters (
  rater INTEGER PRIMARY KEY AUTOINCREMENT,
  key_sha256 TEXT NOT NULL UNIQUE,
  simulated INTEGER NOT NULL,
  begun TEXT NOT NULL
);
CREATE TABLE shown (
  ticket TEXT PRIMARY KEY,
  rater INTEGER NOT NULL REFERENCES raters (rater),
  position INTEGER NOT NULL,
  trial INTEGER NOT NULL,
  left_side TEXT NOT NULL CHECK (left_side IN ('a', 'b')),
  at TEXT NOT NULL,
  UNIQUE (rater, position),
  UNIQUE (rater, trial)
);
CREATE TABLE votes (
  vote INTEGER PRIMARY KEY AUTOINCREMENT,
  rater INTEGER NOT NULL,
  trial INTEGER NOT NULL,
  question TEXT NOT NULL,
  answer TEXT NOT NULL,
  simulated INTEGER NOT NULL,
  at TEXT NOT NULL,
  digest TEXT NOT NULL,
  UNIQUE (rater, trial, question),
  FOREIGN KEY (rater, trial) REFERENCES shown (rater, trial)
);
"""


def create(path, study: studies.Study) -> votes.Votes:
  """Begins a study in a new file, or goes on with the same in an old one."""
  path = pathlib.Path(path)
  if path.is_file() and path.stat().st_size:
    old = load(path, write=True)
    if old.study != study:
      raise ValueError(
        f'{path} holds another study: {_difference(old.study, study)}; give '
        'another --out, or the same settings and pictures to go on'
      )
    return old
  db = _connect(path, write=True)
  try:
    db.execute('PRAGMA journal_mode = WAL')
    db.execute('BEGIN IMMEDIATE')
    for statement in _TABLES.split(';'):
      db.execute(statement)
    db.executemany(
      'INSERT INTO study VALUES (?, ?)',
      [
        ('definition', study.to_json()),
        ('sha256', study.id),
        ('begun', votes.now()),
      ],
    )
    db.execute(f'PRAGMA application_id = {_OURS}')
    db.execute('COMMIT')
  except sqlite3.Error as e:
    raise ValueError(votes.plainly(path, e)) from e
  return votes.Votes(path, study, db)


def load(path, write: bool = False) -> votes.Votes:
  """Opens a study that is there; raises ValueError where it was altered."""
  path = pathlib.Path(path)
  if not path.exists():
    raise ValueError(f'--out={path} does not exist; no study was begun there')
  db = _connect(path, write)
  try:
    (ours,) = db.execute('PRAGMA application_id').fetchone()
    if ours != _OURS:
      raise ValueError(f'{path} is no study of imagen_jax.rate; give another')
    kept = dict(db.execute('SELECT key, value FROM study').fetchall())
    if write:  # finds out now whether another program holds it
      db.execute('BEGIN IMMEDIATE')
      db.execute('ROLLBACK')
  except sqlite3.Error as e:
    raise ValueError(votes.plainly(path, e)) from e
  text, stored = kept.get('definition', ''), kept.get('sha256', '')
  if studies.digest(text) != stored:
    raise ValueError(
      f'{path} was altered: the hash of its definition is '
      f'{studies.digest(text)[:12]}, not {stored[:12]} as when the study '
      'began; take a copy from before, or begin anew with another --out'
    )
  try:
    study = studies.from_json(text)
  except (ValueError, KeyError, TypeError) as e:
    raise ValueError(f'{path} holds a study that cannot be read: {e}') from e
  opened = votes.Votes(path, study, db)
  opened.all()
  return opened


def _connect(path, write):
  if path.is_dir():
    raise ValueError(f'--out={path} is a directory; give a file in it')
  mode = 'rwc' if write else 'ro'
  name = urllib.parse.quote(str(path))
  try:
    db = sqlite3.connect(
      f'file:{name}?mode={mode}',
      uri=True,
      timeout=WAIT,
      isolation_level=None,
      check_same_thread=False,
    )
    db.execute('PRAGMA synchronous = FULL')
    db.execute('PRAGMA foreign_keys = ON')
  except sqlite3.Error as e:
    raise ValueError(votes.plainly(path, e)) from e
  return db


def _difference(before, now):
  """The first thing in which two studies differ, in words."""
  for field in dataclasses.fields(studies.Study):
    old, new = getattr(before, field.name), getattr(now, field.name)
    if old == new:
      continue
    if field.name == 'protocol':
      kinds = [f'{p.name} v{p.version}' for p in (old, new)]
      if kinds[0] == kinds[1]:
        kinds = [f'num {p.num}, batch {p.batch}' for p in (old, new)]
      return f'protocol {kinds[0]}, not {kinds[1]}'
    if field.name in ('trials', 'batches'):
      if len(old) != len(new):
        return f'{len(old)} {field.name}, not {len(new)}'
      changed = sum(x != y for x, y in zip(old, new))
      return f'{changed} of {len(old)} {field.name} have other pictures'
    return f'{field.name} {old!r}, not {new!r}'
  return 'nothing in particular'

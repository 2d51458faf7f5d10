"""Reads gin files: bounded, without circles, with modules that moved since.

gin itself is given parts of a file, each up to an include, as the text stands
there; every statement keeps its line, so that gin's messages name it.
"""

import ast
import io
import os
import pathlib
import sys
import tokenize

MAX_BYTES = 2**20  # of one file; a long leaf has some 10 KiB
MAX_DEPTH = 50  # brackets and signs within each other

# Where the modules that a leaf can name were, and where they are.
MOVED = {
  f'imagen_jax.{old}': f'imagen_jax.{new}'
  for old, new in {
    'jobs': 'training.jobs',
    'partitioning': 'parallel.partitioning',
    'pretraining.masked': 'training.pretraining.masked',
    'pretraining.pairs': 'training.pretraining.pairs',
    'pretraining.spans': 'training.pretraining.spans',
    'text.corruption': 'training.pretraining.spans',
    'text.masking': 'training.pretraining.masked',
    'data.sentences': 'training.pretraining.sentences',
    'evaluation.judge': 'evaluation.scenes.judge',
    'evaluation.judge_examples': 'evaluation.scenes.judge_examples',
  }.items()
}

_SPACE = (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT)


class Part(io.StringIO):
  """A stretch of a gin file that gin parses at once; has the file's name."""

  def __init__(self, text, name):
    super().__init__(text)
    self.name = name


def parts(name, within=()):
  """The parts of a gin file and of what it includes, in order.

  Args:
    name: Path of a file; includes are relative to the working directory.
    within: Paths of the files that include this one, the outermost first.

  Raises:
    ValueError: A file that cannot be read, is too long or too deep, is no gin
      or includes itself.
  """
  path = os.path.realpath(name)
  if path in within:
    by = os.path.basename(within[-1])
    raise ValueError(f'gin file {name} includes itself, by {by}')
  lines = read(name).splitlines(keepends=True)
  statements = list(_statements(lines, name))
  imports, begin = set(), 0
  for words in statements:
    at = range(words[0].start[0] - 1, words[-1].end[0])
    keyword, following = words[0].string, (*words, words[0])[1]
    if keyword in ('from', 'import') and following.string not in '=:':
      imports.update(at)
    elif keyword == 'include' and following.type == tokenize.STRING:
      yield _part(lines, imports, begin, at.start, name)
      yield from parts(ast.literal_eval(words[1].string), (*within, path))
      begin = at.stop
  yield _part(lines, imports, begin, len(lines), name)


def read(name):
  """The text of a gin file, with modules where they are now; warns of those."""
  path = pathlib.Path(name)
  if not path.is_file():
    raise ValueError(f'gin file {name} not found; see the leaves in gin/')
  with path.open('rb') as file:
    data = file.read(MAX_BYTES + 1)
  if len(data) > MAX_BYTES:
    raise ValueError(f'gin file {name} has more than {MAX_BYTES:,} bytes')
  try:
    text = data.decode()
  except UnicodeDecodeError as e:
    raise ValueError(f'gin file {name} is no text in UTF-8') from e
  return moved(text, name)


def moved(text, name):
  """A gin text with the modules that moved at their new places.

  Prints one line to stderr where there are any, with both names of each.
  """
  lines = text.splitlines(keepends=True)
  told = {}
  # From the end, so that what is replaced moves nothing before it.
  for words in reversed(list(_statements(lines, name))):
    for (row, begin, end), new, why in reversed(list(_changes(words))):
      line = lines[row - 1]
      lines[row - 1] = line[:begin] + new + line[end:]
      told.update([why])
  if told:
    names = ', '.join(
      f'{old} is now {new}' for old, new in sorted(told.items())
    )
    print(f'warning: {name} names modules that moved: {names}', file=sys.stderr)
  return ''.join(lines)


def _part(lines, imports, begin, end, name):
  """Lines `begin` to `end` - 1, and the imports before; blank lines else."""
  return Part(
    ''.join(
      line if begin <= i < end or (i < begin and i in imports) else '\n'
      for i, line in enumerate(lines)
    ),
    name,
  )


def _statements(lines, name):
  """The statements of a gin text, each a list of tokens.

  Raises ValueError where brackets and signs lie too deep in each other.
  """
  words, depth, signs = [], 0, 0
  try:
    for token in tokenize.generate_tokens(iter(lines).__next__):
      if token.type in (tokenize.NEWLINE, tokenize.ENDMARKER):
        if words:
          yield words
        words, depth, signs = [], 0, 0
      elif token.type not in _SPACE:
        words.append(token)
        depth += (token.string in '([{') - (token.string in ')]}')
        signs = signs + 1 if token.string in '+-~' else 0
        if depth + signs > MAX_DEPTH:
          raise ValueError(
            f'{name}, line {token.start[0]}: a value with more than '
            f'{MAX_DEPTH} brackets or signs within each other'
          )
  except (tokenize.TokenError, SyntaxError) as e:
    raise ValueError(f'{name}: {_first(e)}') from e


def _first(error):
  """What a tokenizer says, with the line where it knows it."""
  what, *where = error.args
  line = where[0][0] if where and isinstance(where[0], tuple) else None
  if isinstance(error, SyntaxError):
    line = error.lineno
  return f'line {line}: {what}' if line else what


def _changes(words):
  """(row, begin, end), new text, (old, new) of the modules in a statement."""
  first = words[0].string
  if first == 'from' and 'import' in (w.string for w in words):
    yield from _from_import(words)
    return
  for names in _dotted(words):
    for length in range(len(names), 2, -2):
      old = ''.join(w.string for w in names[:length])
      if old in MOVED:
        span = names[0].start[0], names[0].start[1], names[length - 1].end[1]
        yield span, MOVED[old], (old, MOVED[old])
        break


def _from_import(words):
  """The change of `from A import B`, if A.B moved."""
  at = [w.string for w in words].index('import')
  if at + 1 >= len(words):
    return
  package = ''.join(w.string for w in words[1:at])
  last = words[at + 1]
  old = f'{package}.{last.string}'
  if old in MOVED:
    parent, _, new = MOVED[old].rpartition('.')
    alias = '' if new == last.string or len(words) > at + 2 else last.string
    text = f'from {parent} import {new}' + (f' as {alias}' if alias else '')
    span = words[0].start[0], words[0].start[1], last.end[1]
    yield span, text, (old, MOVED[old])


def _dotted(words):
  """Runs of tokens that spell dotted names of the package."""
  run = []
  for word in words:
    if run and word.type == (
      tokenize.OP if run[-1].type == tokenize.NAME else tokenize.NAME
    ):
      if word.string == '.' or word.type == tokenize.NAME:
        run.append(word)
        continue
    if run:
      yield run
    run = [word] if word.string == 'imagen_jax' else []
  if run:
    yield run

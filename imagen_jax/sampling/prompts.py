"""Prompts as users give them: on the command line, and a line each in a file.

Not in the paper. A bad line of a file does not stop the others.
"""

from imagen_jax.files import plain
from imagen_jax.sampling import manifests

LONGEST = 10_000  # characters; nobody means a longer one
_MAX_BYTES = 1 << 30  # of a file of prompts
# By the first word of what is wrong with a prompt.
_REMEDIES = {
  'is': 'type it again, or set a locale of UTF-8',
  'has': 'shorten it: an encoder reads its first 32 to 512 tokens alone',
  'holds': 'type it again without',
}


def read(given, path=None):
  """The prompts of the command line, then those of the file, each once.

  Args:
    given: prompts; a bad one is a ValueError.
    path: a text file with one more a line, or None.

  Returns:
    (prompts, a complaint for each bad line of the file).
  """
  prompts, complaints = [], []
  for prompt in given:
    if reason := _wrong(prompt):
      raise ValueError(
        f'the prompt {_short(prompt)} {reason}; {_REMEDIES[reason.split()[0]]}'
      )
    prompts.append(prompt)
  for number, line in enumerate(_lines(path) if path else (), start=1):
    try:
      prompt = line.decode().strip()
      reason = _wrong(prompt)
    except UnicodeDecodeError as e:
      reason = f'is not UTF-8 text ({e.reason} at byte {e.start})'
    if reason:
      complaints.append(f'{path}:{number}: the line {reason}; it is left out')
    elif prompt:
      prompts.append(prompt)
  return list(dict.fromkeys(prompts)), complaints


def _lines(path):
  try:
    data = plain.read_named(path, _MAX_BYTES)
  except OSError as e:
    raise ValueError(
      f'--prompts_file={path} cannot be read: {e.strerror or e}'
    ) from e
  if data.startswith((b'\xff\xfe', b'\xfe\xff')):
    raise ValueError(
      f'--prompts_file={path} is not UTF-8 text but UTF-16; save it as UTF-8'
    )
  return data.removeprefix(b'\xef\xbb\xbf').splitlines()


def _wrong(prompt):
  """What is wrong with a prompt, in words; '' where nothing is."""
  try:
    prompt.encode()
  except UnicodeEncodeError:
    return 'is not UTF-8 text'
  if len(prompt) > LONGEST:
    return f'has {len(prompt)} characters, more than {LONGEST}'
  odd = next((c for c in prompt if ord(c) < 32 and c not in '\t\n\r'), None)
  return f'holds the control character {odd!r}' if odd else ''


def remarks(captions, encoder, words) -> list[str]:
  """What a user should know about the captions, a line each.

  Args:
    captions: list of str.
    encoder: a `text.encoders.TextEncoder`.
    words: that the cascade claims to know; None = no claim.
  """
  lines = []
  for caption in dict.fromkeys(captions):
    if not caption.strip():
      lines.append(
        "an empty prompt is drawn from the empty caption's embedding: "
        'anything may come'
      )
    prepared = encoder.prepared([caption])[0]
    if cut := encoder.tokenizer.cut(prepared).strip():
      lines.append(
        f'the prompt {_short(caption)} is longer than '
        f'{encoder.tokenizer.max_length} tokens; cut off: {cut!r}'
      )
    unknown = sorted(set(manifests.words_in(caption)) - (words or frozenset()))
    if words is not None and unknown:
      lines.append(
        f'the prompt {_short(caption)} has words outside the vocabulary '
        f'of this cascade: {", ".join(unknown)}'
      )
  return lines


def _short(prompt):
  return repr(prompt if len(prompt) <= 40 else prompt[:37] + '...')

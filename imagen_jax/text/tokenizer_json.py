"""tokenizer.json as data: what is refused in it, what captions cannot spell.

The file says how text is rewritten before it is cut into pieces, so it may ask
for any amount of memory; and its vocabulary holds the special tokens beside
the words, so a caption that spells one would become it.
"""

MAX_BYTES = 128 << 20  # of the file; that of 250,000 pieces has 17 MiB
MAX_GROWTH = 10_000  # times that rewriting may lengthen a caption
_UNICODE = 18  # times that NFKC and its like lengthen a text at most
_ALIKE = {  # normalizers that lengthen a letter, by how much at most
  'NFD': 4,
  'NFKD': _UNICODE,
  'NFC': 3,
  'NFKC': _UNICODE,
  'Precompiled': _UNICODE,
  'Lowercase': 3,
  'BertNormalizer': 3 * 4,
  'Nmt': 1,
  'ByteLevel': 4,
}
_APART = '\ue000'  # of private use: around what no caption is to spell


def check_growth(fields: dict, where) -> None:
  """Raises ValueError where the rewriting may lengthen captions endlessly."""
  if _growth(fields.get('normalizer')) > MAX_GROWTH:
    raise ValueError(
      f'{where}: its normalizer may make captions more than {MAX_GROWTH:,} '
      'times as long; take the file of the model that the encoder is of'
    )


def _growth(normalizer):
  """Times that a normalizer may lengthen a text, about."""
  if not isinstance(normalizer, dict):
    return 1
  kind = normalizer.get('type')
  if kind == 'Sequence':
    times = 1
    for inner in normalizer.get('normalizers') or ():
      times *= _growth(inner)
      if times > MAX_GROWTH:
        break
    return times
  if kind == 'Prepend':
    return 1 + len(str(normalizer.get('prepend') or ''))
  if kind == 'Replace':
    return _of_replacing(normalizer)
  return _ALIKE.get(kind, 1)


def _of_replacing(normalizer):
  content, pattern = str(normalizer.get('content')), normalizer.get('pattern')
  text = pattern.get('String') if isinstance(pattern, dict) else None
  if text:
    return max(1, len(content) / len(text))
  # An expression may match a letter, or nothing in front of each.
  return max(1, 1 + len(content) if len(content) > 1 else 1)


def without_specials(fields: dict) -> dict | None:
  """The same tokenizer, but that no text becomes a special token.

  They are called otherwise, in the model and among the added tokens; ids, and
  what surrounds a caption, stay. None = it is so already.
  """
  model, added = fields.get('model'), fields.get('added_tokens') or []
  specials = {a['content'] for a in added if a.get('special')}
  vocab = model.get('vocab')
  if isinstance(vocab, dict):
    specials &= set(vocab)
    if not specials:
      return None
    vocab = {_apart(name, specials): i for name, i in vocab.items()}
  elif isinstance(vocab, list):  # Unigram: pairs of piece and score
    specials &= {name for name, _ in vocab}
    if not specials:
      return None
    vocab = [[_apart(name, specials), score] for name, score in vocab]
  else:
    return None
  changed = {**model, 'vocab': vocab}
  if isinstance(model.get('unk_token'), str):
    changed['unk_token'] = _apart(model['unk_token'], specials)
  added = [{**a, 'content': _apart(a['content'], specials)} for a in added]
  return {**fields, 'model': changed, 'added_tokens': added}


def _apart(name, specials):
  return f'{_APART}{name}{_APART}' if name in specials else name

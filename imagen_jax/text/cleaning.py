"""Captions as DeepFloyd IF's pipelines clean them before they are encoded.

The published weights learned from captions of the web after such a cleaning:
lower case; no addresses, tags, file names and numbers of articles; plain quotes
and dashes; spaces in order. It is done twice, as there. Needs ftfy (mended
encodings) and BeautifulSoup (text of HTML), an extra; without them a caption
is only put in lower case.
"""

import functools
import html
import re
import urllib.parse
import warnings

_ADDRESS = (
  r'\b((?:{start}[a-zA-Z0-9.\-]+[.](?:com|co|ru|net|org|edu|gov|it)[\w/-]*'
  r'\b/?(?!@)))'
)
# Blocks of characters of East Asian scripts: strokes, phonetic extensions,
# circled and compatibility forms, ideographs.
_IDEOGRAPHS = (
  r'[\u31c0-\u31ef\u31f0-\u31ff\u3200-\u32ff\u3300-\u33ff\u3400-\u4dbf'
  r'\u4dc0-\u4dff\u4e00-\u9fff]+'
)
_DASHES = (
  r'[\u002D\u058A\u05BE\u1400\u1806\u2010-\u2015\u2E17\u2E1A\u2E3A\u2E3B\u2E40'
  r'\u301C\u3030\u30A0\uFE31\uFE32\uFE58\uFE63\uFF0D]+'
)
_BAD_PUNCTUATION = r'[#®•©™&@·º½¾¿¡§~)(\]\[}{|\\/*]+'
_LINKING = re.compile(r'(?:-|_)')

# (pattern, what it becomes), in their order.
_BEFORE_HTML = (
  ('<person>', 'person'),
  (_ADDRESS.format(start=r'https?:(?:\/{1,3}|[a-zA-Z0-9%])|'), ''),
)
_SIMPLE = (
  (r'@[\w\d]+\b', ''),
  (_IDEOGRAPHS, ''),
  (_DASHES, '-'),
  (r'[`´«»“”¨]', '"'),
  (r'[‘’]', "'"),
  (r'&quot;?', ''),
  (r'&amp', ''),
  (r'\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}', ' '),  # of machines
  (r'\d:\d\d\s+$', ''),  # times at the end
  (r'\\n', ' '),
  (r'#\d{1,3}\b', ''),
  (r'#\d{5,}\b', ''),
  (r'\b\d{6,}\b', ''),
  (r'[\S]+\.(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)', ''),
  (r'["\']{2,}', '"'),
  (r'[\.]{2,}', ' '),
  (_BAD_PUNCTUATION, ' '),
  (r'\s+\.\s+', ' '),
)
_LATE = (
  (r'\b[a-zA-Z]{1,3}\d{3,15}\b', ''),  # jc6640
  (r'\b[a-zA-Z]+\d+[a-zA-Z]+\b', ''),  # jc6640vc
  (r'\b\d+[a-zA-Z]+\d+\b', ''),  # 6640vc231
  (r'(worldwide\s+)?(free\s+)?shipping', ''),
  (r'(free\s)?download(\sfree)?', ''),
  (r'\bclick\b\s(?:for|on)\s\w+', ''),
  (r'\b(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)(\simage[s]?)?', ''),
  (r'\bpage\s+\d+\b', ''),
  (r'\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b', ' '),  # j2d1a2a
  (r'\b\d+\.?\d*[xх×]\d+\.?\d*\b', ''),
  (r'\b\s+\:\s+', ': '),
  (r'(\D[,\./])\b', r'\1 '),
  (r'\s+', ' '),
)
_LAST = (
  (r'^[\"\']([\w\W]+)[\"\']$', r'\1'),
  (r'^[\'\_,\-\:;]', ''),
  (r'[\'\_,\-\:\-\+]$', ''),
  (r'^\.\S+$', ''),
)


def clean(caption: str) -> str:
  """The caption as IF's text encoder is given it."""
  if _libraries() is None:
    return caption.lower().strip()
  return _once(_once(caption))


@functools.cache
def _libraries():
  """(ftfy, bs4), or None with a warning."""
  try:
    import bs4  # both in an extra
    import ftfy
  except ImportError as error:
    warnings.warn(
      f'captions are put in lower case but not cleaned as IF was trained: '
      f"{error.name} is missing; pip install 'imagen-jax[captions]'",
      stacklevel=3,
    )
    return None
  return ftfy, bs4


def _once(caption):
  ftfy, bs4 = _libraries()
  text = urllib.parse.unquote_plus(str(caption)).strip().lower()
  text = _replaced(text, _BEFORE_HTML)
  text = re.sub(_ADDRESS.format(start='www.|'), '', text)
  with warnings.catch_warnings():  # of a caption that looks like an address
    warnings.simplefilter('ignore')
    text = bs4.BeautifulSoup(text, features='html.parser').text
  text = _replaced(text, _SIMPLE)
  if len(_LINKING.findall(text)) > 3:  # this-is-my-cute-cat
    text = _LINKING.sub(' ', text)
  text = html.unescape(html.unescape(ftfy.fix_text(text)))
  text = _replaced(text, _LATE).strip()
  return _replaced(text, _LAST).strip()


def _replaced(text, rules):
  for pattern, replacement in rules:
    text = re.sub(pattern, replacement, text)
  return text

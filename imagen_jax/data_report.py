"""Tells what is in a set of pictures and captions, before it is trained on.

  python -m imagen_jax.data_report --source=photos --out=report.html

Sizes, aspects, captions and what the tokenizer cuts of them, scripts, equal
files, bad files, what the filter and the crop keep, how fast a core decodes,
how large a cache of embeddings gets. Makes the index that training uses. Not
in the paper.
"""

import os
import pathlib
import sys

from imagen_jax.config import command, flags, terminal
from imagen_jax.data import pipeline, source_flags, survey
from imagen_jax.pages import survey_page
from imagen_jax.text import huggingface_tokenizers, tokenizers

TOKENIZER = (
  pathlib.Path(__file__).parent
  / 'pretrained'
  / 'scenes'
  / 'text'
  / 'tokenizer.model'
)


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.data_report',
    description='Tells what is in a set of pictures and captions, and what '
    'training would use of it. Makes the index of the set.',
    allow_abbrev=False,
  )
  add = p.add_argument
  source_flags.add(p, min_side=None, tfds=True)
  add(
    '--resolution',
    type=flags.whole('pixels', 8, 4096),
    default=64,
    metavar='N',
    help='pixels of the square that training sees (default: 64)',
  )
  add(
    '--tokenizer',
    metavar='FILE',
    default=str(TOKENIZER),
    help='SentencePiece .model or tokenizer.json that counts tokens (default: '
    'that of the shipped encoder)',
  )
  add(
    '--max_length',
    type=flags.whole('tokens', 1, 512),
    default=128,
    metavar='N',
    help='tokens of a caption at most (default: 128)',
  )
  add(
    '--width',
    type=flags.whole('features', 1, 1 << 16),
    default=4096,
    metavar='N',
    help="the text encoder's features, for the size of a cache (default: "
    '4096, T5-XXL)',
  )
  add(
    '--sample',
    type=flags.whole('examples', 1, 10**9),
    default=2000,
    metavar='N',
    help='examples whose captions and files are looked at (default: 2000)',
  )
  add(
    '--out',
    metavar='FILE',
    help='write the report as one HTML page as well (default: text alone)',
  )
  return p


def open_tokenizer(path, max_length):
  """The tokenizer of a file."""
  if not os.path.isfile(path):
    raise ValueError(f'--tokenizer={path} does not exist')
  if path.endswith('.json'):
    content = pathlib.Path(path).read_bytes()
    return huggingface_tokenizers.from_json(content, max_length, path)
  return tokenizers.SentencePieceTokenizer(path, max_length)


def report(args):
  """The `survey.Survey` that the command line asks for."""
  source = source_flags.source(
    args, min_side=args.min_side or args.resolution, max_rejected=1.0
  )
  pictures = pipeline.Pictures(resolution=args.resolution)
  return survey.take(
    source,
    source.open_index(),
    pictures,
    source.reading,
    args.sample,
    open_tokenizer(args.tokenizer, args.max_length),
  )


def _sayable(text):
  """Names of files may hold bytes that are no text: '\\xff' for such."""
  return text.encode('utf-8', 'backslashreplace').decode()


def main(argv=None):
  """Prints the report; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  try:
    found = report(args)
  except (ValueError, OSError) as e:
    return flags.failed(e)
  print(terminal.escaped(survey_page.text(found, args.width)))
  if args.out:
    try:
      pathlib.Path(args.out).write_text(
        _sayable(survey_page.page(found, args.width)), encoding='utf-8'
      )
    except OSError as e:
      return flags.failed(e, args.out)
    print(f'\nwritten to {args.out}', file=sys.stderr)
  return 0


if __name__ == '__main__':
  command.run(main)

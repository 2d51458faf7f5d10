"""Command-line flags of the entry points: types, and errors on one line."""

import argparse
import difflib
import itertools
import re
import sys

from imagen_jax.config import debugging

# A word that is meant as a flag: --name, alone or before = or a space; -n=.
_FLAG = re.compile(r'--[A-Za-z][\w.-]*(?=[=\s]|$)|-[A-Za-z]\w*(?==)')

_SEEDS = 2**32

# What other tools call it -> what we do; '' = it is no flag here.
_ELSEWHERE = {
  other: ours
  for ours, others in {
    '': 'prompt p text caption',
    '--negative': 'negative_prompt n_prompt neg_prompt uncond_prompt',
    '--num_images': 'num_images_per_prompt n_samples num_samples n_iter n '
    'samples images',
    '--guidance': 'guidance_scale cfg_scale cfg scale w cond_scale',
    '--steps': 'num_inference_steps ddim_steps num_steps sampling_steps '
    'inference_steps timesteps',
    '--out': 'output output_dir output_path outdir o out_dir save_dir save '
    'output_file outfile',
    '--size': 'height width H W h w resolution image_size img_size '
    'aspect_ratio',
    '--prompts_file': 'from_file prompt_file prompts captions',
    '--image': 'init_image init_img input input_image img',
    '--mask': 'mask_image init_mask',
    '--cascade': 'ckpt checkpoint model model_id model_path '
    'pretrained_model_name_or_path ckpt_path',
    '--sampler': 'scheduler solver sampling_method',
    '--workdir': 'work_dir model_dir logdir log_dir',
    '--gin_file': 'config config_file gin.file cfg_file',
    '--encoder': 'text_encoder model pretrained_model_name_or_path',
    '--source': 'data dataset data_dir train_data_dir dataset_name',
  }.items()
  for other in others.split()
}


class Parser(argparse.ArgumentParser):
  """An ArgumentParser whose errors are one line, with exit code 2.

  A word that begins as a flag does is one, whatever its value holds; argparse
  takes those with a space for positional. `--` ends the flags.
  """

  passed = ()  # beginnings of flags that the caller reads: '--gin.'

  def __init__(self, **settings):
    super().__init__(**settings)
    self.add_argument(
      debugging.FLAG,
      action='store_true',
      default=argparse.SUPPRESS,
      help='print where an error happened, besides its line; so does '
      f'{debugging.VARIABLE}=1 (default: no)',
    )

  def error(self, message):
    self.exit(2, f'error: {message}; see --help\n')

  def parse_known_args(self, args=None, namespace=None):
    """As argparse does; an unknown flag is an error that names another."""
    args = list(sys.argv[1:] if args is None else args)
    for word in itertools.takewhile(lambda word: word != '--', args):
      found = _FLAG.match(word)
      if found and not word.startswith(self.passed):
        self._check_flag(word, found[0])
    return super().parse_known_args(args, namespace)

  def _check_flag(self, word, name):
    """Ends with a line where there is no such flag, or it is not told off."""
    rest = word[len(name) :]
    if name in self._option_string_actions:
      if rest[:1].isspace():
        self.error(f'{word!r} is one word; write {name}={rest.strip()!r}')
      return
    remedy = self._remedy(name)
    positional = any(not a.option_strings for a in self._actions)
    if positional and any(letter.isspace() for letter in rest):
      remedy += '; before a sentence that begins so, write --'
    self.error(f'unknown flag {name}: {remedy}')

  def _remedy(self, name):
    """What to write in the place of an unknown flag."""
    flags = [f for f in self._option_string_actions if f.startswith('--')]
    plain = name.lstrip('-').replace('-', '_')
    if f'--{plain}' in flags:
      return f'it is --{plain}'
    ours = _ELSEWHERE.get(plain)
    positional = any(not a.option_strings for a in self._actions)
    if ours == '' and positional:
      return 'write the sentence itself, in quotes and without a flag'
    if ours in flags:
      return f'here it is {ours}'
    near = difflib.get_close_matches(f'--{plain}', flags, n=1, cutoff=0)
    return f'the nearest is {near[0]}'


def add_cascade(parser):
  """The flag of every command that draws."""
  parser.add_argument(
    '--cascade',
    metavar='DIR',
    help='cascade directory, see imagen_jax.bind, or hf://user/name on the '
    'Hub (default: the one that ships with the package)',
  )


def add_seed(parser):
  """The seed of a command that draws."""
  parser.add_argument(
    '--seed',
    type=seed,
    default=0,
    metavar='N',
    help='whole number from 0 to 2^32 - 1 (default: 0)',
  )


def add_server(parser, port):
  """Where a page is served, and who may come in; `port` is the default."""
  parser.add_argument(
    '--host',
    default='127.0.0.1',
    metavar='ADDRESS',
    help='to serve at; one that others can reach needs --token (default: '
    '127.0.0.1, this machine alone)',
  )
  parser.add_argument(
    '--port',
    type=whole('port', 0, 65535),
    default=port,
    metavar='N',
    help=f'to serve at, 0 = any that is free (default: {port})',
  )
  parser.add_argument(
    '--token',
    metavar='TEXT',
    help='16 or more letters and digits that a browser has to bring along; '
    'new = one is made (default: none)',
  )


def failed(error, out=None):
  """Says on one line what stopped a command; returns its exit code, 2.

  An OSError is one of writing `out`; None = nothing was being written.
  """
  if isinstance(error, BrokenPipeError):
    raise error  # of what reads the output, not of `out`
  debugging.show(error)
  if isinstance(error, OSError) and out is not None:
    error = f'--out={out} cannot be written: {error}'
  print('error:', ' '.join(str(error).splitlines()), file=sys.stderr)
  return 2


def stopped():
  """Says that Ctrl+C lost nothing; returns the exit code of such an end."""
  print('stopped; the same command goes on', file=sys.stderr)
  return 130


def whole(what, low, high):
  """A type: a whole number of `what` from `low` to `high`."""

  def parse(text):
    try:
      value = int(text)
    except ValueError:
      value = None
    if value is None or not low <= value <= high:
      raise argparse.ArgumentTypeError(
        f'{text!r} is no whole number ({what}) from {low} to {high}'
      )
    return value

  return parse


def seed(text):
  """A type: a seed, which has 32 bits here."""
  try:
    return whole('seed', 0, _SEEDS - 1)(text)
  except argparse.ArgumentTypeError as e:
    if not text.isdecimal() or len(text) > 100:
      raise
    raise argparse.ArgumentTypeError(
      f'{e}: seeds have 32 bits here, and those of other tools draw other '
      f'pictures anyhow; take {int(text) % _SEEDS}'
    ) from e


def span(what):
  """A type: 'A:B' -> (A, B), `what` from A, which is 1 or more, to B - 1."""

  def parse(text):
    first, _, end = text.partition(':')
    if not (first.isdecimal() and end.isdecimal()) or not 0 < int(first) < int(
      end
    ):
      raise argparse.ArgumentTypeError(
        f'{text!r} is no span of {what}; write 10:13 for 10, 11 and 12'
      )
    return int(first), int(end)

  return parse


def list_of(kind):
  """A type: one value or several separated by commas, each `kind`."""

  def parse(text):
    try:
      return [kind(part) for part in text.split(',')]
    except ValueError:
      numbers = 'whole numbers' if kind is int else 'numbers'
      raise argparse.ArgumentTypeError(
        f'{text!r} is no list of {numbers} separated by commas'
      ) from None

  return parse

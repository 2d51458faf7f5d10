"""Puts a cascade, or a text directory, on the Hugging Face Hub.

  python -m imagen_jax.publish --cascade=DIR --repo=user/name --license=mit
  python -m imagen_jax.sample "a red fox" --cascade=hf://user/name

All files are one commit: others see all of it or nothing. The card is the
directory's README.md, if it has one, under a head that the Hub understands;
--dry_run shows it and contacts nobody.
"""

import json
import pathlib

from imagen_jax.config import command, flags
from imagen_jax.files import hub, json_files
from imagen_jax.sampling import manifests
from imagen_jax.text import encoders

CARD = 'README.md'
# What a directory may hold besides the files that its manifest names.
_BESIDE = ('presets.json', '*.png')


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.publish',
    description='Puts a cascade, or a text directory, on the Hugging Face Hub.',
    allow_abbrev=False,
  )
  add = p.add_argument
  what = p.add_mutually_exclusive_group(required=True)
  what.add_argument(
    '--cascade', metavar='DIR', help='cascade directory to publish'
  )
  what.add_argument('--text', metavar='DIR', help='text directory to publish')
  add(
    '--repo',
    required=True,
    metavar='USER/NAME',
    help='repository, made if need be (no default)',
  )
  add(
    '--license',
    required=True,
    metavar='ID',
    help='of the weights, as the Hub names it: mit, apache-2.0, ... or other '
    '(no default)',
  )
  add(
    '--scores',
    metavar='FILE',
    help='scores.json of evaluate, for the head of the card (default: none)',
  )
  add('--private', action='store_true', help='if it is made (default: no)')
  add(
    '--dry_run',
    action='store_true',
    help='print the card and the files, and contact nobody (default: no)',
  )
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  try:
    hub.check_repo(args.repo)
    if args.cascade:
      directory = pathlib.Path(args.cascade)
      names, about = of_cascade(directory, args.license)
    else:
      directory = pathlib.Path(args.text)
      names, about = of_text(directory)
    results = _results(args.scores, args.repo) if args.scores else None
    text = card(directory, args.license, about, results)
    if args.dry_run:
      print(text)
      print(f'# {args.repo}: {CARD} and')
      print('\n'.join(f'# {name}' for name in names))
      return 0
    files = {name: directory / name for name in names}
    address = hub.publish(
      args.repo, {**files, CARD: text.encode()}, private=args.private
    )
  except (ValueError, OSError) as e:
    return flags.failed(e)
  print(f'{address}: {len(files) + 1} files; draw with {hub.SCHEME}{args.repo}')
  return 0


def of_cascade(directory, license_id):
  """(names of its files, what its head says); verified before."""
  manifest = manifests.read(directory)
  manifests.verify(directory, manifest)
  if manifest.licence is not None and license_id != 'other':
    raise ValueError(
      f'{directory}: its weights have a licence of their own '
      f'({manifest.licence[:80]}); give --license=other, which the card '
      'explains'
    )
  beside = [p.name for pattern in _BESIDE for p in directory.glob(pattern)]
  about = {
    'pipeline_tag': 'text-to-image',
    'tags': ['jax', 'flax', 'imagen', 'pixel-diffusion', 'cascade'],
  }
  if manifest.licence is not None:
    about['license_name'] = 'see-below'
    about['body'] = f'**Licence of the weights.** {manifest.licence}\n'
  return [manifests.FILE, *sorted(manifest.checksums), *sorted(beside)], about


def of_text(directory):
  """The same of a text directory."""
  encoder = encoders.load(str(directory))
  config = encoder.config
  names = [encoders.CONFIG_FILE, encoders.WEIGHTS_FILE]
  names += [
    path.name
    for path in sorted(directory.iterdir())
    if path.name in ('tokenizer.model', 'tokenizer.json')
  ]
  return names, {
    'pipeline_tag': 'feature-extraction',
    'tags': ['jax', 'flax', type(config).__name__.removesuffix('Config')],
  }


def card(directory, license_id, about, results=None):
  """The model card: a head of YAML, then README.md without a head of its own.

  Args:
    directory: that is published.
    license_id: the Hub's name of the licence.
    about: of `of_cascade` or `of_text`.
    results: `model-index` of the Hub, or None.
  """
  about = dict(about)
  body = about.pop('body', '')
  head = {'license': license_id, 'library_name': 'imagen_jax', **about}
  if results:
    head['model-index'] = results
  # JSON is YAML: nothing in a name can end a value.
  lines = [f'{name}: {json.dumps(value)}' for name, value in head.items()]
  path = directory / CARD
  own = path.read_text(encoding='utf-8') if path.is_file() else _own(directory)
  if own.startswith('---\n'):
    own = own.split('\n---\n', 1)[-1].lstrip('\n')
  parts = ['---', *lines, '---', '', *([body] if body else []), own.rstrip()]
  return '\n'.join(parts) + '\n'


def _own(directory):
  return (
    f'# {directory.resolve().name}\n\nWeights of imagen_jax. Draw with them by '
    '`python -m imagen_jax.sample "..." --cascade=hf://USER/NAME`.\n'
  )


def _results(path, repo):
  """`model-index` of a scores.json: of a protocol, or of splits."""
  found = json_files.read(path)
  try:
    if 'protocol' in found:
      data = {found['title']: {n: float(x) for n, x in found['scores'].items()}}
    else:
      data = {
        split: {part: float(cell['share']) for part, cell in parts.items()}
        for split, parts in found.items()
      }
  except (TypeError, KeyError, AttributeError, ValueError) as e:
    raise ValueError(f'{path} holds no scores of evaluate ({e!r})') from e
  results = [
    {
      'task': {'type': 'text-to-image'},
      'dataset': {'name': name, 'type': 'imagen_jax'},
      'metrics': [{'type': n, 'value': x} for n, x in scores.items()],
    }
    for name, scores in data.items()
  ]
  return [{'name': repo.partition('/')[2], 'results': results}]


if __name__ == '__main__':
  command.run(main)

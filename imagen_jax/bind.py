"""Binds trained stages and a text encoder into a cascade directory.

  python -m imagen_jax.bind --stages=A,B,C --text=DIR --out=DIR

Each of A, B, C is a stage directory or the work directory of the training run
that keeps one; DIR for the text is a text directory. Everything is copied,
checked to fit together and given checksums (`manifests`); the directory then
appears at --out whole or not at all.
"""

import dataclasses
import pathlib
import shutil
import sys

import jax
import ml_dtypes
import numpy as np

from imagen_jax import stages as stages_lib
from imagen_jax.config import command, flags
from imagen_jax.data.emoji_scenes import grammar, splits
from imagen_jax.files import weights
from imagen_jax.sampling import manifests, setting_flags
from imagen_jax.stages import chains, layout_stage
from imagen_jax.stages import settings as settings_lib
from imagen_jax.text import checkpoints, encoders, tokenizer_files

TEXT = 'text'  # the text directory's name inside the cascade directory
LAYOUT = 'layout'  # that of the layout stage
DTYPES = {
  'float32': np.float32,
  'float16': np.float16,
  'bfloat16': ml_dtypes.bfloat16,
}


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.bind',
    description='Makes a cascade directory of 1 to 3 stages and a text '
    'encoder.',
    allow_abbrev=False,
  )
  add = p.add_argument
  add(
    '--stages',
    required=True,
    metavar='A[,B[,C]]',
    help='stage directories, or training work directories that hold one, '
    'lowest resolution first (no default)',
  )
  add(
    '--text',
    required=True,
    metavar='DIR',
    help='text encoder: a text directory, a Hugging Face directory or a T5X '
    'checkpoint (no default)',
  )
  add(
    '--tokenizer',
    metavar='FILE',
    help='its tokenizer (default: the one in --text)',
  )
  add(
    '--layout',
    metavar='DIR',
    help='layout stage, or the work directory of train_layout that holds one, '
    'for a base that is told of layouts (default: none)',
  )
  add(
    '--out',
    required=True,
    metavar='DIR',
    help='the cascade directory to make (no default)',
  )
  add(
    '--replace',
    action='store_true',
    help='replace the stages and the text in --out; other files, such as a '
    'model card, are kept (default: an error if it exists)',
  )
  add(
    '--dtype',
    choices=DTYPES,
    help='type of the weights on disk; 16 bits halve the files (default: as '
    'they are, float32 for an encoder that is no text directory)',
  )
  add(
    '--vocabulary',
    choices=splits.VOCABULARIES,
    help='vocabulary of the embedded scenes that the stages were trained on; '
    'sampling warns of other words (default: no claim)',
  )
  add(
    '--words_file',
    metavar='FILE',
    help='text file with the words the stages were trained on, instead of '
    '--vocabulary (default: no claim)',
  )
  setting_flags.add(p, stages_lib.SETTINGS)
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  try:
    manifest = bind(
      args.stages.split(','),
      args.text,
      args.out,
      words=read_words(args.vocabulary, args.words_file),
      settings=setting_flags.given(args, stages_lib.SETTINGS),
      dtype=args.dtype,
      replace=args.replace,
      tokenizer=args.tokenizer,
      layout=args.layout,
    )
  except (ValueError, OSError) as e:
    return flags.failed(e, args.out)
  print(f'{args.out}: cascade {manifest.id} of {len(manifest.stages)} stages')
  return 0


def bind(
  stages,
  text,
  out,
  *,
  words,
  settings,
  dtype=None,
  replace=False,
  tokenizer=None,
  layout=None,
):
  """Makes the cascade directory `out`; returns its manifest.

  Args:
    stages: stage directories or training work directories, coarse to fine.
    text: text directory, or what else `text.load_encoder` reads.
    out: where the cascade directory is to appear.
    words: claimed vocabulary, or None.
    settings: {name in `stages.SETTINGS`: one value for all stages, or one for
      each}, as sampling takes them where it is not told otherwise.
    dtype: name in DTYPES, or None to keep the files' own.
    replace: whether a cascade directory at `out` may be replaced.
    tokenizer: that of the encoder, where it does not lie beside it.
    layout: layout stage directory or work directory with one, or None.

  Raises:
    ValueError: with one line, where something does not fit.
  """
  out = pathlib.Path(out)
  manifests.check_out(out, replace)
  directories = [stage_directory(directory) for directory in stages]
  configs = with_settings(
    [stages_lib.read_config(directory) for directory in directories], settings
  )
  chains.check(configs)
  encoder = load_text(text, tokenizer, configs[0].max_length)
  chains.check_text(
    configs,
    encoder.config.width,
    encoder.tokenizer.max_length,
    encoder.as_if,
  )
  if layout is not None:
    layout = layout_directory(layout)
    chains.check_layout(configs, layout_stage.read_config(layout))
  with manifests.appearing(out) as fresh:
    names = [f'stage_{config.resolution}' for config in configs]
    for name, config, directory in zip(names, configs, directories):
      _copy_stage(directory, config, fresh / name, dtype)
      _note_other_text(directory, text, encoder)
    _copy_text(text, encoder, fresh / TEXT, dtype)
    if layout is not None:
      _copy_layout(layout, fresh / LAYOUT, dtype)
    manifest = manifests.make(
      fresh,
      stages=names,
      text=TEXT,
      words=words,
      layout=None if layout is None else LAYOUT,
      licence=manifests.licences([*directories, text, *filter(None, [layout])]),
    )
    weights.save_json(fresh / manifests.FILE, manifests.to_json(manifest))
  return manifest


def load_text(source, tokenizer, max_length):
  """The encoder; a text directory of ours says tokenizer and length itself."""
  if not _is_ours(source):
    return checkpoints.load_encoder(
      source, max_length=max_length, tokenizer=tokenizer
    )
  if tokenizer is not None:
    raise ValueError(
      f'--tokenizer={tokenizer}: the text directory {source} has its own; '
      'leave the flag out'
    )
  return encoders.load(source)


def _is_ours(source):
  return (pathlib.Path(source) / encoders.CONFIG_FILE).is_file()


def stage_directory(path):
  """`path`, or the stage directory that a training run keeps in it."""
  path = pathlib.Path(path)
  inside = path / 'stage'
  if not (path / stages_lib.CONFIG_FILE).exists() and inside.is_dir():
    return inside
  return path


def layout_directory(path):
  """`path`, or the layout stage that a run of train_layout keeps in it."""
  path = pathlib.Path(path)
  inside = path / 'layout'
  if not (path / layout_stage.CONFIG_FILE).exists() and inside.is_dir():
    return inside
  return path


def with_settings(configs, settings):
  """The stages with the sampling settings that were given anew."""
  sizes = [config.resolution for config in configs]
  changes = {
    name: settings_lib.per_stage(name, values, sizes, 'bound')
    for name, values in settings.items()
  }
  return [
    dataclasses.replace(
      config,
      sampling=settings_lib.replaced(
        config.sampling, **{name: values[i] for name, values in changes.items()}
      ),
    )
    for i, config in enumerate(configs)
  ]


def read_words(vocabulary, path):
  """The claimed words of --vocabulary or --words_file; None = no claim."""
  if vocabulary and path:
    raise ValueError('give --vocabulary or --words_file, not both')
  if path:
    try:
      text = pathlib.Path(path).read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as e:
      raise ValueError(f'--words_file={path} cannot be read: {e}') from e
    return manifests.words_in(text)
  if vocabulary:
    words = grammar.vocabulary_words(splits.vocabulary(vocabulary))
    return manifests.words_in(' '.join(words))
  return None


def check_shapes(network, params, path):
  """Raises ValueError where the weights are not those of the network.

  `network` are its weights or their shapes by name.
  """
  shapes = {name: leaf.shape for name, leaf in network.items()}
  found = {name: leaf.shape for name, leaf in weights.flatten(params).items()}
  for name in sorted(shapes.keys() | found.keys()):
    if shapes.get(name) != found.get(name):
      raise ValueError(
        f'{path}: {name} is {found.get(name, "missing")}, the network of '
        f'{stages_lib.CONFIG_FILE} has {shapes.get(name, "no such weight")}; '
        'take both files from one run'
      )


def _note_other_text(directory, text, encoder):
  """Tells where a stage was trained with other weights of the encoder.

  No error: the same weights in 16 bits have another checksum.
  """
  path = directory / stages_lib.WEIGHTS_FILE
  trained = weights.metadata(path).get(stages_lib.TEXT_WEIGHTS)
  given = encoders.weights_sha256(encoder.params)
  if trained not in (None, given):
    print(
      f'note: {directory} was trained with other text weights '
      f'({trained[:12]}) than those of {text} ({given[:12]}); unless these are '
      'the same in another precision, it will draw something else',
      file=sys.stderr,
    )


def _copy_stage(directory, config, destination, dtype):
  params = weights.load(directory / stages_lib.WEIGHTS_FILE)
  check_shapes(
    weights.flatten(stages_lib.param_shapes(config)),
    params,
    directory / stages_lib.WEIGHTS_FILE,
  )
  if dtype is not None:
    stages_lib.write(destination, config, params, DTYPES[dtype])
    return
  destination.mkdir()
  shutil.copyfile(
    directory / stages_lib.WEIGHTS_FILE, destination / stages_lib.WEIGHTS_FILE
  )
  fields = stages_lib.to_json(config)
  weights.save_json(destination / stages_lib.CONFIG_FILE, fields)


def _copy_layout(directory, destination, dtype):
  config, params = layout_stage.read(directory)
  shapes = jax.eval_shape(
    lambda key: layout_stage.init_params(config, key), jax.random.key(0)
  )
  check_shapes(
    weights.flatten(shapes), params, directory / layout_stage.WEIGHTS_FILE
  )
  if dtype is not None:
    layout_stage.write(destination, config, params, DTYPES[dtype])
    return
  destination.mkdir()
  for name in (layout_stage.CONFIG_FILE, layout_stage.WEIGHTS_FILE):
    shutil.copyfile(pathlib.Path(directory) / name, destination / name)


def _copy_text(text, encoder, destination, dtype):
  if dtype is not None or not _is_ours(text):
    encoders.save(destination, encoder, DTYPES[dtype or 'float32'])
    return
  destination.mkdir()
  tokenizer, _ = tokenizer_files.to_file(encoder.tokenizer)
  for name in (encoders.CONFIG_FILE, encoders.WEIGHTS_FILE, tokenizer):
    shutil.copyfile(pathlib.Path(text) / name, destination / name)


if __name__ == '__main__':
  command.run(main)

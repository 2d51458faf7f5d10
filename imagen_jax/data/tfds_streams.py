"""Rows of a TFDS set in order: those stored one after another, or shuffled.

  stored_rows, stored_captions   once through, as they are stored
  forward_items                  for `sequential.Forward`, shuffled by tf.data

Sets stored as TFRecord have no way to reach example n; they go through tf.data
(`sequential` says what is lost).
"""

import functools
import sys

from imagen_jax.data import caption_fields, sequential, tfds_sets


def stored_rows(name, data_dir, splits, image):
  """Nested rows of splits in the order they are stored, pictures undecoded."""
  found = tfds_sets.builder(name, data_dir)
  for split in splits:
    if split not in found.info.splits:
      raise tfds_sets.no_split(f'tfds:{name}', split, found.info.splits)
    if tfds_sets.is_random_access(found):
      yield from _stored(found, split, tfds_sets.undecoded(found, image), name)
    else:
      skip = tfds_sets.undecoded(found, image)
      data = functools.partial(_in_order, found, split, skip, name)
      yield from rows(data, f'tfds:{name}/{split}')


def stored_captions(name, data_dir, split, feature):
  """Of each example in the order they are stored; no picture is decoded."""
  import tensorflow_datasets as tfds

  found = tfds_sets.builder(name, data_dir)
  features = found.info.features
  tfds_sets.check_features(found, (feature,), f'tfds:{name}')
  if tfds_sets.is_random_access(found):
    skip = {
      path: tfds.decode.SkipDecoding()
      for path, one in features.items()
      if isinstance(one, tfds.features.Image)
    }
    examples = _stored(found, split, skip, name)
  else:
    wanted = {feature: True}
    if feature not in features:
      wanted = sequential.nested(feature, True)
    data = functools.partial(
      _in_order,
      found,
      split,
      tfds.decode.PartialDecoding(wanted),
      name,
    )
    examples = rows(data, f'tfds:{name}/{split}')
  for row in examples:
    value = sequential.feature(row, feature, f'tfds:{name}')
    try:
      yield caption_fields.of_value(value)
    except caption_fields.BadCaption:
      continue


def _stored(found, split, decoders, name):
  """The rows of an ArrayRecord split, one after another."""
  source = tfds_sets.data_source(found, split, decoders, name)
  try:
    yield from source
  except (RuntimeError, ValueError, IndexError, OSError) as e:
    raise tfds_sets.unreadable(f'tfds:{name}/{split}', e) from e


def _in_order(found, split, decoders, name):
  try:
    return found.as_dataset(split=split, decoders=decoders, shuffle_files=False)
  except (ValueError, AssertionError) as e:
    raise tfds_sets.no_split(f'tfds:{name}', split, found.info.splits) from e


def forward_items(name, data_dir, split, image, caption):
  """`items` of a `sequential.Forward`, through tf.data."""
  try:
    import tensorflow  # noqa: F401 TFDS would say late that it is missing
  except ImportError as e:
    raise ValueError(
      f'tfds:{name} is not stored as ArrayRecord: reading it needs TensorFlow, '
      "pip install 'imagen-jax[data]'; or prepare it with "
      '--file_format=array_record'
    ) from e
  return functools.partial(_read_forward, name, data_dir, split, image, caption)


def _read_forward(name, data_dir, split, image, caption, epoch):
  import tensorflow_datasets as tfds

  found = tfds_sets.builder(name, data_dir)
  options = tfds.ReadConfig(
    shuffle_seed=epoch, interleave_cycle_length=1, try_autocache=False
  )
  if split not in found.info.splits and '[' not in split:
    raise tfds_sets.no_split(f'tfds:{name}', split, found.info.splits)

  def shuffled():
    data = found.as_dataset(
      split=split,
      decoders=tfds_sets.undecoded(found, image),
      # A set whose order means something refuses to be read in another.
      shuffle_files=not found.info.disable_shuffling,
      read_config=options,
    )
    return data.shuffle(1000, seed=epoch)

  for row in rows(shuffled, f'tfds:{name}/{split}'):
    yield sequential.example(row, image, caption, f'tfds:{name}')


def rows(dataset, name):
  """The rows of dataset(), of tf.data; its errors on one line."""
  try:
    yield from dataset().as_numpy_iterator()
  except Exception as e:
    tf = sys.modules.get('tensorflow')  # loaded by what made the set, if at all
    if tf and isinstance(e, (tf.errors.OpError, OSError)):
      raise tfds_sets.unreadable(name, e) from e
    raise

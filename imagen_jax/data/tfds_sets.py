"""TensorFlow data sets: ArrayRecord files by number, others read forward.

ArrayRecord is read without TensorFlow. Sets that are stored as TFRecord have
no way to reach example n; they go through tf.data (`sequential` says what is
lost). `tensorflow_datasets` is imported when a set is opened.
"""

import functools
import sys
import threading

import numpy as np

from imagen_jax.data import (
  caption_fields,
  images,
  index,
  indexing,
  sequential,
)
from imagen_jax.data.emoji_scenes import tfds_builder

_PIECE = 4096  # records looked through together


def builder(name: str, data_dir: str | None):
  """The builder of a prepared set."""
  try:
    import tensorflow_datasets as tfds  # not in the core
  except ImportError as e:
    raise ValueError(
      f"tfds:{name} needs tensorflow-datasets: pip install 'imagen-jax[data]'"
    ) from e
  try:
    # By the files alone: the code of most builders imports TensorFlow.
    return tfds.core.read_only_builder.builder_from_files(
      name, data_dir=data_dir
    )
  except tfds.core.DatasetNotFoundError:
    pass  # the code may know better, and says what is missing
  try:
    if name.startswith('emoji_scenes/'):
      config = name.removeprefix('emoji_scenes/')
      found = tfds_builder.builder(config, data_dir=data_dir)
    else:
      found = tfds.builder(name, data_dir=data_dir)
    if not found.info.splits:
      raise ValueError(f'nothing is prepared in {found.data_path}')
    return found
  except (tfds.core.DatasetNotFoundError, ValueError, AssertionError) as e:
    reason = str(e).strip().splitlines()[0][:160].rstrip('.')
    raise ValueError(
      f'tfds:{name}: {reason}; prepare it first: {_how_to_prepare(name)}'
    ) from e
  except ImportError as e:
    raise ValueError(
      f'tfds:{name} is not prepared in {data_dir or "the directory of TFDS"}; '
      f'preparing it needs {e.name or "tensorflow"}: pip install '
      f"'imagen-jax[data]', then {_how_to_prepare(name)}"
    ) from e


def _how_to_prepare(name):
  if name.startswith('emoji_scenes/'):  # not of TFDS's register
    return 'see docs/data.md, The scenes as TFDS data'
  return (
    f'tfds build {name} --file_format=array_record (it asks for apache-beam, '
    'docs/data.md does without)'
  )


def is_random_access(found) -> bool:
  """Whether the files of a builder are read by number."""
  return found.info.file_format.value == 'array_record'


def check_features(found, features, name: str) -> None:
  """Raises ValueError listing the features there are."""
  there = _tree(found.info.features)
  for path in features:
    sequential.feature(there, path, name)


def _tree(feature):
  """Nested dicts of features: {'captions': {'text': ...}} of a Sequence too."""
  inner = getattr(feature, 'feature', feature)  # of a Sequence
  if not hasattr(inner, 'items'):  # FeaturesDict is no Mapping
    return inner
  return {name: _tree(one) for name, one in inner.items()}


class Records:
  """The examples of one split of an ArrayRecord set, pictures undecoded."""

  def __init__(self, name, data_dir, split, image, caption):
    self._how = (name, data_dir, split, image, caption)
    self._rows = None
    self._lock = threading.Lock()

  def __reduce__(self):
    return Records, self._how

  def __call__(self, row, text) -> bytes | np.ndarray:
    """The picture of a row of the index."""
    del text
    return self._read(int(row['offset']))[1]

  def pieces(self):
    """What is looked through for the index: some records each."""
    count = len(self._open())
    for start in range(0, count, _PIECE):
      stop = min(start + _PIECE, count)
      yield indexing.Piece(
        state=functools.partial(list, (self._how[2], count, start, stop)),
        scan=functools.partial(self._scan, start, stop),
      )

  def _scan(self, start, stop):
    """`index.Entry` and `index.Reject` of examples."""
    split = self._how[2]
    for number in range(start, stop):
      where = f'{split}/{number}'
      captions, picture = self._read(number)
      if not captions:
        yield index.Reject(id=where, reason='no caption')
        continue
      try:
        if isinstance(picture, np.ndarray):
          size, count = picture.shape[1::-1], picture.nbytes
        else:
          size, count = images.header(picture), len(picture)
      except images.BadPicture as e:
        yield index.Reject(id=where, reason=str(e))
        continue
      yield index.Entry(
        id=where,
        captions=captions,
        width=int(size[0]),
        height=int(size[1]),
        size=count,
        offset=number,
      )

  def files(self):
    """[(name, examples)] of the split, as it was when indexed."""
    return [[self._how[2], len(self._open())]]

  def _read(self, number):
    name, _, split, image, caption = self._how
    rows = self._open()
    try:
      row = rows[number]
    except (RuntimeError, ValueError, IndexError, OSError) as e:
      what = f'tfds:{name}/{split}, example {number},'
      raise _unreadable(what, e) from e
    return sequential.example(row, image, caption, f'tfds:{name}')

  def _open(self):
    with self._lock:
      if self._rows is None:
        name, data_dir, split, image, caption = self._how
        found = builder(name, data_dir)
        skip = _undecoded(found, image)
        self._rows = _data_source(found, split, skip, name)
    return self._rows


def _data_source(found, split, decoders, name):
  try:
    return found.as_data_source(split=split, decoders=decoders)
  except (ValueError, KeyError) as e:
    raise _no_split(f'tfds:{name}', split, found.info.splits) from e
  except (RuntimeError, OSError) as e:
    raise _unreadable(f'tfds:{name}/{split}', e) from e


def _unreadable(what, error):
  """A shard that was there and is cut or gone, most likely."""
  reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
  return ValueError(
    f'{what} cannot be read ({reason[:160]}); put the files back as they were '
    'and run the same command again'
  )


def _undecoded(found, image):
  """The `decoders` that leave a picture as the bytes of its file."""
  import tensorflow_datasets as tfds

  skip = tfds.decode.SkipDecoding()
  if image in found.info.features:  # with slashes in its name, maybe
    return {image: skip}
  return sequential.nested(image, skip)


def _no_split(name, split, there):
  return ValueError(
    f'{name} has no split {split!r}; there are: {", ".join(sorted(there))}'
  )


def stored_rows(name, data_dir, splits, image):
  """Nested rows of splits in the order they are stored, pictures undecoded."""
  found = builder(name, data_dir)
  for split in splits:
    if split not in found.info.splits:
      raise _no_split(f'tfds:{name}', split, found.info.splits)
    if is_random_access(found):
      yield from _stored(found, split, _undecoded(found, image), name)
    else:
      skip = _undecoded(found, image)
      data = functools.partial(_in_order, found, split, skip, name)
      yield from _rows(data, f'tfds:{name}/{split}')


def stored_captions(name, data_dir, split, feature):
  """Of each example in the order they are stored; no picture is decoded."""
  import tensorflow_datasets as tfds

  found = builder(name, data_dir)
  features = found.info.features
  check_features(found, (feature,), f'tfds:{name}')
  if is_random_access(found):
    skip = {
      path: tfds.decode.SkipDecoding()
      for path, one in features.items()
      if isinstance(one, tfds.features.Image)
    }
    rows = _stored(found, split, skip, name)
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
    rows = _rows(data, f'tfds:{name}/{split}')
  for row in rows:
    value = sequential.feature(row, feature, f'tfds:{name}')
    try:
      yield caption_fields.of_value(value)
    except caption_fields.BadCaption:
      continue


def _stored(found, split, decoders, name):
  """The rows of an ArrayRecord split, one after another."""
  rows = _data_source(found, split, decoders, name)
  try:
    yield from rows
  except (RuntimeError, ValueError, IndexError, OSError) as e:
    raise _unreadable(f'tfds:{name}/{split}', e) from e


def _in_order(found, split, decoders, name):
  try:
    return found.as_dataset(split=split, decoders=decoders, shuffle_files=False)
  except (ValueError, AssertionError) as e:
    raise _no_split(f'tfds:{name}', split, found.info.splits) from e


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

  found = builder(name, data_dir)
  options = tfds.ReadConfig(
    shuffle_seed=epoch, interleave_cycle_length=1, try_autocache=False
  )
  if split not in found.info.splits and '[' not in split:
    raise _no_split(f'tfds:{name}', split, found.info.splits)

  def shuffled():
    data = found.as_dataset(
      split=split,
      decoders=_undecoded(found, image),
      # A set whose order means something refuses to be read in another.
      shuffle_files=not found.info.disable_shuffling,
      read_config=options,
    )
    return data.shuffle(1000, seed=epoch)

  for row in _rows(shuffled, f'tfds:{name}/{split}'):
    yield sequential.example(row, image, caption, f'tfds:{name}')


def _rows(dataset, name):
  """The rows of dataset(), of tf.data; its errors on one line."""
  try:
    yield from dataset().as_numpy_iterator()
  except Exception as e:
    tf = sys.modules.get('tensorflow')  # loaded by what made the set, if at all
    if tf and isinstance(e, (tf.errors.OpError, OSError)):
      raise _unreadable(name, e) from e
    raise


def check_task(name, split):
  """The registered seqio Task or Mixture, which has the split."""
  try:
    import seqio  # not in the core, and slow to import
  except ImportError as e:
    raise ValueError(
      f"seqio:{name} needs seqio: pip install 'imagen-jax[data]'"
    ) from e
  try:
    task = seqio.get_mixture_or_task(name)
  except ValueError as e:
    raise ValueError(
      f'seqio:{name} is not registered ({str(e).splitlines()[0][:120]}); '
      'import the module that registers it in the gin file'
    ) from e
  if split not in task.splits:
    raise _no_split(f'seqio:{name}', split, task.splits)
  return task


def task_items(name, split, image, caption, epoch):
  """(captions, picture) of a registered seqio Task or Mixture, once."""
  dataset = functools.partial(
    check_task(name, split).get_dataset,
    sequence_length=None,
    split=split,
    shuffle=True,
    seed=epoch,
    num_epochs=1,
  )
  for row in _rows(dataset, f'seqio:{name}/{split}'):
    yield sequential.example(row, image, caption, f'seqio:{name}')

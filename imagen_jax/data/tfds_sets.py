"""Prepared TensorFlow data sets: found, opened, and what is wrong with them.

Examples of a set stored as ArrayRecord are read by number (`tfds_records`),
those of others in order (`tfds_streams`). `tensorflow_datasets` is imported
when a set is opened.
"""

from imagen_jax.data import sequential
from imagen_jax.data.emoji_scenes import tfds_builder


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


def data_source(found, split, decoders, name):
  try:
    return found.as_data_source(split=split, decoders=decoders)
  except (ValueError, KeyError) as e:
    raise no_split(f'tfds:{name}', split, found.info.splits) from e
  except (RuntimeError, OSError) as e:
    raise unreadable(f'tfds:{name}/{split}', e) from e


def unreadable(what, error):
  """A shard that was there and is cut or gone, most likely."""
  reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
  return ValueError(
    f'{what} cannot be read ({reason[:160]}); put the files back as they were '
    'and run the same command again'
  )


def undecoded(found, image):
  """The `decoders` that leave a picture as the bytes of its file."""
  import tensorflow_datasets as tfds

  skip = tfds.decode.SkipDecoding()
  if image in found.info.features:  # with slashes in its name, maybe
    return {image: skip}
  return sequential.nested(image, skip)


def no_split(name, split, there):
  return ValueError(
    f'{name} has no split {split!r}; there are: {", ".join(sorted(there))}'
  )

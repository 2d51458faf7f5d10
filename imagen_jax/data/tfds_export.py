"""Any folder or shards as a TensorFlow data set in ArrayRecord files.

  tfds_export.prepare(source, 'photos', data_dir)   # nothing is downloaded
    -> {'image', 'captions': texts, 'id'}, splits train and validation

Every picture is decoded once: what cannot be is left out and listed. JPEG and
PNG files that any decoder shows alike keep their bytes; others (alpha, CMYK,
16 bits, EXIF orientation, WebP, ...) become PNG. With flags for Apache Beam
(an empty list will do) it is a pipeline, for sets that one process would take
days for.
TensorFlow and TFDS write the files; reading them needs neither.
"""

import functools
import io
import json
import pathlib
import re
import sys

from imagen_jax.data import images, index
from imagen_jax.files import remote

_BATCH = 256  # examples of one element of the Beam pipeline


def prepare(source, name, data_dir, *, beam_flags=None, max_bad=0.01):
  """Writes the data set of a source of files; returns its TFDS builder.

  Args:
    source: with an index; its `reading` decides filter and splits.
    name: of the data set, letters, digits and '_'.
    data_dir: where TFDS keeps data sets.
    beam_flags: for Apache Beam, such as --runner=...; None = without it.
    max_bad: share of the examples that may be bad.
  """
  if not re.fullmatch('[a-z][a-z0-9_]*', name):
    raise ValueError(
      f'{name!r} is no name of a data set: small letters, digits and _'
    )
  try:
    import tensorflow  # noqa: F401 TFDS needs it to write, and says so late
    import tensorflow_datasets as tfds
  except ImportError as e:
    raise ValueError(
      f"building TFDS data needs {e.name}: pip install 'imagen-jax[data]'"
    ) from e
  by_beam = beam_flags is not None
  made = _builder_class(name, by_beam)(
    data_dir=data_dir, file_format='array_record'
  )
  if pathlib.Path(made.data_path).exists():  # TFDS reads no source then
    print(
      f'{made.data_path} is there already and is kept; delete it to build it '
      'again',
      file=sys.stderr,
    )
  made.source, made.max_bad, options = source, max_bad, {}
  if by_beam:
    options['beam_options'] = _beam_options(beam_flags)
  made.download_and_prepare(
    download_config=tfds.download.DownloadConfig(**options)
  )
  if by_beam:  # its workers know of no whole
    path = quarantine_path(data_dir, name)
    for split, found in made.info.splits.items():
      total = len(source.open(split))
      bad = total - found.num_examples
      _check(bad, total, split, max_bad, f'{path}.{split}')
  return made


def _beam_options(beam_flags):
  try:
    from apache_beam.options import pipeline_options
  except ImportError as e:
    raise ValueError('--beam needs apache-beam: pip install apache-beam') from e
  return pipeline_options.PipelineOptions(list(beam_flags))


def normal(data) -> bytes:
  """The bytes of a picture that every decoder shows alike.

  Raises BadPicture where it cannot be decoded.
  """
  image = images.decode(data)
  if isinstance(data, bytes):
    found = images.opened(data)
    plain = (
      found.format in ('JPEG', 'PNG')
      and found.mode in ('RGB', 'L')
      and 'transparency' not in found.info
      and images.orientation(found) == 1
      and images.profile_of(data) != 'converted'
      and getattr(found, 'n_frames', 1) == 1
    )
    if plain:
      return data
  out = io.BytesIO()
  image.save(out, 'PNG')
  return out.getvalue()


def entries(photographs, numbers):
  """(number, row, text) of the index: all that finding a picture takes."""
  return [(i, *photographs.entry(i)) for i in numbers]


def examples(found, fetch):
  """(key, features), or an `index.Reject`, of each of `entries`."""
  for i, row, text in found:
    try:
      picture = normal(fetch(row, text))
    except images.BadPicture as e:
      yield index.Reject(id=text.id, reason=str(e))
      continue
    # A name of a file may be no text.
    name = text.id.encode('utf-8', 'backslashreplace').decode()
    yield i, {'image': picture, 'captions': list(text.captions), 'id': name}


def quarantine_path(data_dir, name) -> str:
  """Where bad examples are listed; with Beam '.train' and such follow."""
  return remote.join(str(data_dir), f'{name}_quarantine.jsonl')


@functools.cache
def _builder_class(name, by_beam):
  """TFDS names a data set after its class."""
  import tensorflow_datasets as tfds

  class Captioned(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Pictures with captions."""

    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES = {'1.0.0': 'First release.'}

    def _info(self):
      return self.dataset_info_from_configs(
        description='Pictures with captions, from files.',
        features=tfds.features.FeaturesDict(
          {
            'image': tfds.features.Image(shape=(None, None, 3)),
            'captions': tfds.features.Sequence(tfds.features.Text()),
            'id': tfds.features.Text(),
          }
        ),
        disable_shuffling=True,  # readers shuffle; keys stay numbers
      )

    def _split_generators(self, dl_manager):
      del dl_manager  # all is here
      path = pathlib.Path(quarantine_path(self._data_dir_root, self.name))
      path.unlink(missing_ok=True)  # of an earlier try
      return {
        split: self._one_by_one(self.source.open(split), split)
        for split in ('train', 'validation')
      }

    def _one_by_one(self, opened, split):
      path = quarantine_path(self._data_dir_root, self.name)
      bad, everything = 0, ((i, *opened.entry(i)) for i in range(len(opened)))
      for found in examples(everything, opened.fetch):
        if not isinstance(found, index.Reject):
          yield found
          continue
        bad += 1
        with open(path, 'a', encoding='utf-8') as file:
          file.write(_line(found))
      _check(bad, len(opened), split, self.max_bad, path)

    def _generate_examples(self, *args):
      raise NotImplementedError('_split_generators returns the examples')

  class ByBeam(Captioned, skip_registration=True):
    """The same, each split a part of a pipeline."""

    def _split_generators(self, dl_manager, pipeline):
      del dl_manager
      path = quarantine_path(self._data_dir_root, self.name)
      return {
        split: _pipeline(self.source.open(split), split, pipeline, path)
        for split in ('train', 'validation')
      }

  made = ByBeam if by_beam else Captioned
  made.name = name
  return made


def _pipeline(opened, split, pipeline, path):
  """The good examples of a split; the bad ones are listed beside `path`."""
  import apache_beam as beam

  # The index is here and not where workers are: its entries travel.
  starts = range(0, len(opened), _BATCH)
  batches = [
    entries(opened, range(start, min(start + _BATCH, len(opened))))
    for start in starts
  ]
  found = (
    pipeline
    | f'{split}_entries' >> beam.Create(batches)
    | f'{split}_spread' >> beam.Reshuffle()
    | f'{split}_read' >> beam.FlatMap(examples, opened.fetch)
  )
  _ = (
    found
    | f'{split}_bad' >> beam.Filter(_is_bad)
    | f'{split}_lines' >> beam.Map(lambda one: _line(one).rstrip())
    | f'{split}_list'
    >> beam.io.WriteToText(f'{path}.{split}', shard_name_template='')
  )
  return found | f'{split}_good' >> beam.Filter(lambda one: not _is_bad(one))


def _is_bad(found):
  return isinstance(found, index.Reject)


def _line(found):
  return json.dumps({'id': found.id, 'reason': found.reason}) + '\n'


def _check(bad, total, split, max_bad, path):
  if bad > max_bad * total:
    raise ValueError(
      f'{split}: {bad} of {total} pictures could not be decoded, more than '
      f'{max_bad:.1%}; they are listed in {path}; mend them, or raise --max_bad'
    )

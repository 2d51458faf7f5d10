"""The same scenes as a TensorFlow Datasets builder.

For those whose input pipeline wants records on disk; training here needs none
of it (`source.py`). Configs: lite and full, at 64, 256 and 1024 pixels.

  from imagen_jax.data.emoji_scenes import tfds_builder
  builder = tfds_builder.builder('lite_64', data_dir='...')
  builder.download_and_prepare()  # nothing is downloaded
  builder.as_dataset(split='validation')
    -> {'image': uint8 [r, r, 3], 'caption', 'scene' (JSON), 'id'}

tensorflow-datasets is imported when a builder is asked for, never before.
"""

import functools
import json

from imagen_jax.data.emoji_scenes import source, splits

RESOLUTIONS = (64, 256, 1024)
# Training examples on disk; the source itself is endless.
TRAIN_SIZES = {64: 60_000, 256: 60_000, 1024: 5_000}
CONFIGS = tuple(
  f'{vocabulary}_{resolution}'
  for vocabulary in splits.VOCABULARIES
  for resolution in RESOLUTIONS
)


def builder(config: str, data_dir: str | None = None, **options):
  """Returns the builder of a config; options go to tfds's own constructor.

  `file_format='array_record'` makes files that are read without TensorFlow.
  """
  if config not in CONFIGS:
    raise ValueError(f'unknown config {config!r}: choose one of {CONFIGS}')
  return _builder_class()(config=config, data_dir=data_dir, **options)


def records(vocabulary: str, resolution: int, split: str):
  """Yields (key, features) of every example of the split, in order."""
  data = source.EmojiScenes(split, vocabulary)
  size = splits.SIZES[split] or TRAIN_SIZES[resolution]
  for index in range(size):
    example = data.example(index, resolution)
    yield index, {**example, 'scene': json.dumps(example['scene'])}


@functools.cache
def _builder_class():
  """Makes the class, whose bases are known once tfds is imported."""
  import tensorflow_datasets as tfds

  class EmojiScenes(tfds.core.GeneratorBasedBuilder):
    """Captioned pictures composed from vector sprites."""

    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES = {'1.0.0': 'First release.'}
    BUILDER_CONFIGS = [
      tfds.core.BuilderConfig(
        name=config,
        description='Vocabulary and pixels: ' + config.replace('_', ', '),
      )
      for config in CONFIGS
    ]

    def _address(self):
      vocabulary, resolution = self.builder_config.name.split('_')
      return vocabulary, int(resolution)

    def _info(self):
      _, resolution = self._address()
      return self.dataset_info_from_configs(
        description=(
          'Scenes of flat emoji with exact captions and scene records. '
          'It says nothing about natural images.'
        ),
        features=tfds.features.FeaturesDict(
          {
            'image': tfds.features.Image(
              shape=(resolution, resolution, 3), encoding_format='png'
            ),
            'caption': tfds.features.Text(),
            'scene': tfds.features.Text(),
            'id': tfds.features.Text(),
          }
        ),
        supervised_keys=('caption', 'image'),
        homepage='https://github.com/microsoft/fluentui-emoji',
        license='Artwork: MIT, Copyright (c) Microsoft Corporation',
        disable_shuffling=True,
      )

    def _split_generators(self, dl_manager):
      del dl_manager  # everything is drawn here
      address = self._address()
      return {split: records(*address, split) for split in splits.SIZES}

    def _generate_examples(self, *args):
      raise NotImplementedError('_split_generators returns the generators')

  return EmojiScenes

"""A seqio Task of the pictures in $PICTURES, for tests with the real seqio.

A gin file imports this module, as a user's would import theirs.
"""

import os
import pathlib

import seqio
import tensorflow as tf


def _dataset(split, shuffle_files, seed=None):
  del shuffle_files, seed
  paths = sorted(pathlib.Path(os.environ['PICTURES']).glob('*.jpg'))
  chosen = paths[3:] if split == 'train' else paths[:3]
  rows = {
    'image': [path.read_bytes() for path in chosen],
    'caption': [path.with_suffix('.txt').read_text() for path in chosen],
  }
  return tf.data.Dataset.from_tensor_slices(rows)


_STRING = seqio.Feature(
  seqio.PassThroughVocabulary(1), add_eos=False, dtype=tf.string, rank=0
)

seqio.TaskRegistry.add(
  'pictures',
  source=seqio.FunctionDataSource(_dataset, splits=('train', 'validation')),
  preprocessors=[],
  output_features={'image': _STRING, 'caption': _STRING},
)

"""Stage directories: what is written is read; what is damaged is named."""

import dataclasses
import json

import numpy as np
import pytest

from imagen_jax import stages
from tests.support import tiny_cascade


@pytest.fixture(params=[8, 16, 32])
def stage(request):
  return tiny_cascade.stage(request.param)


def test_round_trip_through_the_directory(stage, tmp_path):
  params = tiny_cascade.random_params(stage)
  stages.write(tmp_path / 's', stage, params, np.float16)
  read, weights = stages.read(tmp_path / 's')
  assert read == stage
  assert hash(read) == hash(stage)  # lists became tuples again
  kernel = weights['input_conv']['kernel']
  assert kernel.dtype == np.float32
  expected = params['input_conv']['kernel']
  np.testing.assert_allclose(kernel, expected, rtol=1e-3)
  assert sorted(p.name for p in (tmp_path / 's').iterdir()) == [
    'model.safetensors',
    'stage.json',
  ]


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'format_version': 9}, 'format_version 9, this release reads 1'),
    ({'colour': 'red'}, "unknown field 'colour'"),
    ({'model': {'kind': 'transformer'}}, "model kind 'transformer', not one"),
    ({'prediction': 'score'}, "'v', 'eps' or 'x0', not 'score'"),
    ({'text_width': 17}, "text_width 17 differs from the model's 16"),
    ({'low_res': 3}, 'resolution 8 is no multiple of low_res 3'),
    ({'low_res': 0}, 'resolution 8 is no multiple of low_res 0'),
    ({'resolution': '8'}, "resolution is '8'; it must be int"),
    ({'resolution': 16}, "resolution 16 differs from the model's 8"),
    ({'model': {'kind': []}}, r'model kind \[\], not one of'),
    ({'model': [1]}, r'model is \[1\] and no table'),
    ({'model': {'kind': 'unet', 'widths': [8.5]}}, 'it must be tuple of int'),
    ({'model': {'kind': 'unet', 'groups': 3}}, 'no multiples of groups=3'),
    ({'sampling': {'sampler': 'euler'}}, "sampler 'euler' is not one of"),
    ({'sampling': {'threshold': 'soft'}}, "threshold 'soft' is not one of"),
    ({'sampling': {'percentile': 0.995}}, r'must lie in \(1, 100\]'),
    ({'sampling': {'gamma': 7}}, 'gamma is 7; it must lie in'),
    ({'sampling': {'steps': 5.0}}, 'steps is 5.0; it must be int'),
  ],
)
def test_config_that_does_not_fit(changes, said, tmp_path):
  fields = stages.to_json(tiny_cascade.stage(8)) | changes
  (tmp_path / 'stage.json').write_text(json.dumps(fields))
  with pytest.raises(ValueError, match=said):
    stages.read(tmp_path)


def test_missing_and_damaged_files(tmp_path):
  with pytest.raises(ValueError, match='is no stage directory; give the'):
    stages.read(tmp_path)
  stage = tiny_cascade.stage(8)
  stages.write(tmp_path, stage, tiny_cascade.random_params(stage))
  weights = tmp_path / 'model.safetensors'
  weights.write_bytes(weights.read_bytes()[:-100])
  with pytest.raises(ValueError, match='is damaged .*; copy or export it'):
    stages.read(tmp_path)
  weights.unlink()
  with pytest.raises(ValueError, match='is missing; copy the directory again'):
    stages.read(tmp_path)
  (tmp_path / 'stage.json').write_text('{"name": ')
  with pytest.raises(ValueError, match='stage.json is damaged'):
    stages.read(tmp_path)
  with pytest.raises(ValueError, match='stage.json/stage.json cannot be read'):
    stages.read(tmp_path / 'stage.json')


@pytest.mark.parametrize('name', ['keep_mean', 'residual'])
def test_a_model_that_adds_to_the_low_res_picture_predicts_x0(name):
  stage = tiny_cascade.stage(16)
  model = dataclasses.replace(stage.model, **{name: True})
  dataclasses.replace(stage, model=model, prediction='x0')
  with pytest.raises(ValueError, match=f"with {name} predicts x0, not 'eps'"):
    dataclasses.replace(stage, model=model, prediction='eps')

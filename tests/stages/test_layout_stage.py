"""Layout stage directories."""

import json

import jax
import numpy as np
import pytest

from imagen_jax.diffusion import layouts
from imagen_jax.files import weights
from imagen_jax.models import layout_transformer
from imagen_jax.stages import layout_stage

STAGE = layout_stage.LayoutStage(
  layout=layouts.Layout(things=('fox', 'key'), colours=('natural', 'red')),
  model=layout_transformer.LayoutTransformerConfig(
    width=8, blocks=1, head_width=4, text_width=16, max_length=12
  ),
  steps=5,
)


def test_a_directory_is_read_as_it_was_written(tmp_path):
  params = layout_stage.init_params(STAGE, jax.random.key(0))
  layout_stage.write(tmp_path, STAGE, params)
  stage, again = layout_stage.read(tmp_path)
  assert stage == STAGE
  expected = weights.flatten(params)
  assert expected.keys() == weights.flatten(again).keys()
  for name, value in weights.flatten(again).items():
    np.testing.assert_array_equal(value, expected[name])


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'format_version': 2}, 'reads format_version 1'),
    ({'layout': 3}, 'layout is no table'),
    ({'steps': 0}, 'steps is 0; it must lie in'),
    ({'colour': 1}, "unknown field 'colour'"),
  ],
)
def test_a_damaged_directory_is_told(tmp_path, change, message):
  layout_stage.write(
    tmp_path, STAGE, layout_stage.init_params(STAGE, jax.random.key(0))
  )
  path = tmp_path / layout_stage.CONFIG_FILE
  path.write_text(json.dumps(json.loads(path.read_text()) | change))
  with pytest.raises(ValueError, match=message):
    layout_stage.read_config(tmp_path)


def test_another_directory_is_told(tmp_path):
  with pytest.raises(ValueError, match='no layout stage directory; give'):
    layout_stage.read(tmp_path)

"""Which text a job expects is checked before it runs, without weights."""

import json
import types

import pytest

from imagen_jax.files import remote
from imagen_jax.text import checkpoints, encoders, huggingface, t5x
from imagen_jax.training import inputs, jobs


def _job(text, width, length, cache=None):
  stage = types.SimpleNamespace(
    name='tiny', text_width=width, max_length=length
  )
  return types.SimpleNamespace(text=text, cache=cache, stage=stage)


def test_a_text_directory_says_its_width_and_length():
  text = str(inputs.SHIPPED_TEXT)
  width, length = checkpoints.size_of(text)
  encoder = encoders.load(text)
  assert (width, length) == (encoder.config.width, encoder.tokenizer.max_length)
  assert jobs.check_text(_job(text, width, length)) == ''
  with pytest.raises(ValueError, match='expects text of width 8'):
    jobs.check_text(_job(text, 8, length))
  with pytest.raises(ValueError, match='length 7'):
    jobs.check_text(_job(text, width, 7))


def test_what_cannot_be_read_here_is_a_remark():
  remark = jobs.check_text(_job('/nonesuch', 8, 8))
  assert 'not checked: the text of /nonesuch' in remark
  assert 'not checked' in jobs.check_text(_job(None, 8, 8, cache='/nonesuch'))
  assert jobs.check_text(_job(None, 8, 8)) == ''


def test_kinds_that_are_not_read_are_named(tmp_path):
  (tmp_path / 'config.json').write_text(json.dumps({'model_type': 'umt5'}))
  (tmp_path / 'model.safetensors').write_bytes(
    (2).to_bytes(8, 'little') + b'{}'
  )
  with pytest.raises(ValueError, match='umT5.*is not read; take'):
    huggingface.read(remote.folder(tmp_path))
  with pytest.raises(ValueError, match='scan_layers'):
    t5x.config_of({'encoder.encoder.mlp.wi.kernel': (2, 8, 8)}, 'x')
  with pytest.raises(ValueError, match='holds no T5 encoder'):
    t5x.config_of({'encoder.nonesuch': (2,)}, 'x')


def test_a_pipeline_of_diffusers(tmp_path):
  """text_encoder/ is found, its tokenizer beside it; of several, told."""
  from imagen_jax.text import tokenizer_files

  inner = tmp_path / 'text_encoder'
  inner.mkdir()
  (tmp_path / 'tokenizer').mkdir()
  with pytest.raises(
    ValueError, match='text_encoder/config.json|holds no text'
  ):
    checkpoints.size_of(str(tmp_path))
  places = [p.place for p in tokenizer_files._places(remote.folder(inner))]
  assert places == [str(inner), str(tmp_path / 'tokenizer')]
  (tmp_path / 'text_encoder_2').mkdir()
  with pytest.raises(ValueError, match='has 2 text encoders; give'):
    checkpoints.size_of(str(tmp_path))

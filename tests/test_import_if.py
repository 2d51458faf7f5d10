"""A cascade made of diffusers directories, drawn from by its command."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from imagen_jax import (
  export_diffusers,
  import_if,
  load_cascade,
  sample,
  stages,
)
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import manifests, texts
from imagen_jax.text import encoders
from tests.support import if_tiny, tiny_cascade, tiny_job

_ONE, _TWO = (str(if_tiny.DATA / name) for name in if_tiny.STAGES)


@pytest.fixture(scope='module')
def cascade(tmp_path_factory):
  out = tmp_path_factory.mktemp('if') / 'cascade'
  code = import_if.main(
    [f'--stage1={_ONE}', f'--stage2={_TWO}', f'--out={out}']
  )
  assert code == 0
  return out


def _fails(capsys, *flags, module=import_if):
  assert module.main([*flags]) == 2
  error = capsys.readouterr().err
  assert error.startswith('error: ') and error.count('\n') == 1
  return error


def test_text_is_encoded_as_in_the_pipelines(cascade):
  encoder = encoders.load(cascade / 'text')
  stored = if_tiny.arrays('stage1', 'text')
  rows = json.loads((if_tiny.DATA / 'stage1' / 'text.json').read_text())
  prompts = [row['prompt'] for row in rows]
  assert encoder.prepared(prompts) == [row['cleaned'] for row in rows]
  tokens, mask = encoder.tokenizer.encode(encoder.prepared(prompts))
  np.testing.assert_array_equal(tokens, stored['ids'])
  assert tokens.shape[1] == 77 and mask[-1].all()  # cut to 76 and the end
  text, _ = encoder.encode(prompts)
  np.testing.assert_allclose(text, stored['embeds'], atol=2e-5)
  assert np.abs(text[~mask]).min() > 0  # padding is kept


def test_it_draws_by_the_command(cascade, tmp_path, capsys):
  flags = [f'--cascade={cascade}', f'--out={tmp_path}', '--seed=3']
  flags += ['--grid=999:500:0,whole', '--steps=3,2']
  assert sample.main(['A corgi &amp; a <b>bicycle</b>', *flags]) == 0
  out, err = capsys.readouterr()
  assert import_if.LICENCE in err
  (path,) = (line for line in out.splitlines() if line.endswith('.png'))
  with Image.open(path) as picture:
    assert picture.size == (64, 64)
    assert picture.text['grid'] == '999:500:0,whole'
    drawn = np.asarray(picture)
  assert drawn.std() > 5
  again = tmp_path / 'again'
  code = sample.main(
    [f'--reproduce={path}', f'--cascade={cascade}', f'--out={again}']
  )
  assert code == 0
  (path,) = again.glob('*.png')
  with Image.open(path) as picture:
    np.testing.assert_array_equal(picture, drawn)


def test_the_manifest_keeps_the_licence(cascade):
  assert manifests.read(cascade).licence == import_if.LICENCE
  assert load_cascade(cascade).licence == import_if.LICENCE


def test_it_goes_back_to_diffusers(cascade, tmp_path, capsys):
  out = tmp_path / 'pipeline'
  flags = [f'--stage={cascade}/stage_16', f'--out={out}']
  assert export_diffusers.main(flags) == 0
  assert 'if_16 for diffusers' in capsys.readouterr().out
  assert (out / 'unet/diffusion_pytorch_model.safetensors').is_file()
  assert 'exists' in _fails(capsys, *flags, module=export_diffusers)


def test_stages_in_each_other_s_place(tmp_path, capsys):
  out = f'--out={tmp_path / "out"}'
  error = _fails(capsys, f'--stage1={_TWO}', f'--text={_ONE}', out)
  assert 'is a super-resolution stage, not a base; give it as --stage2' in error
  error = _fails(capsys, f'--stage1={_ONE}', f'--stage2={_ONE}', out)
  assert 'is a base, not a super-resolution stage; give' in error
  assert not (tmp_path / 'out').exists()


def test_a_pipeline_without_text_encoder(tmp_path, capsys):
  one = tmp_path / 'one'
  shutil.copytree(_ONE, one)
  shutil.rmtree(one / 'text_encoder')
  error = _fails(capsys, f'--stage1={one}', f'--out={tmp_path / "out"}')
  assert 'has no text_encoder; give the directory of a pipeline' in error


def _own_stage(directory, **changes):
  """A super-resolution stage of the other kind, from 16 to 32 px."""
  stage = tiny_cascade.stage(32)
  width = changes.pop('width', 48)
  stage = dataclasses.replace(
    stage,
    model=dataclasses.replace(stage.model, text_width=width),
    text_width=width,
    max_length=77,
    **changes,
  )
  stages.write(directory, stage, tiny_cascade.random_params(stage))


def test_an_own_stage_may_follow(tmp_path):
  _own_stage(tmp_path / 'own')
  flags = [f'--stage1={_ONE}', f'--stage3={tmp_path / "own"}']
  assert import_if.main([*flags, f'--out={tmp_path / "out"}']) == 0
  cascade = load_cascade(tmp_path / 'out')
  assert [stage.resolution for stage in cascade.stages] == [16, 32]
  text, mask = np.ones([1, 3, 2], np.float32), np.array([[True, True, False]])
  # It sees true tokens alone and zeros for no text, the base all tokens.
  embedded = texts.negatives(cascade.encoder, cascade.stages, None, 1)
  assert set(embedded) == {''}
  for stage, share, away in zip(cascade.stages, (1, 2 / 3), (True, False)):
    given = cascade.encoder, text, mask, None, embedded
    (seen, shown), negative = texts.for_stage(stage, *given)
    assert seen.mean() == pytest.approx(share) == shown.mean()
    assert (negative is not None) == away


def test_an_own_stage_of_another_encoder(tmp_path, capsys):
  _own_stage(tmp_path / 'own', width=16)
  flags = f'--stage1={_ONE}', f'--stage3={tmp_path / "own"}'
  error = _fails(capsys, *flags, f'--out={tmp_path / "out"}')
  assert 'was made for text of width 16' in error


def test_weights_that_are_not_finite(tmp_path, capsys):
  one = tmp_path / 'one'
  shutil.copytree(_ONE, one)
  path = one / 'unet' / 'diffusion_pytorch_model.fp16.safetensors'
  values = safetensors.numpy.load_file(str(path))
  values['conv_in.bias'][0] = np.nan
  safetensors.numpy.save_file(values, str(path))
  error = _fails(capsys, f'--stage1={one}', f'--out={tmp_path / "out"}')
  assert 'input_conv.bias has values that float32 cannot hold' in error
  assert [p.name for p in tmp_path.iterdir()] == ['one']


def test_pickles_and_other_models(tmp_path, capsys):
  one = tmp_path / 'one'
  shutil.copytree(_ONE, one)
  (path,) = (one / 'unet').glob('*.safetensors')
  path.rename(one / 'unet' / 'diffusion_pytorch_model.bin')
  flags = f'--stage1={one}', f'--out={tmp_path / "out"}'
  assert 'pickles, which can run any program' in _fails(capsys, *flags)
  index = one / 'model_index.json'
  index.write_text('{"_class_name": "StableDiffusionPipeline"}')
  assert 'only DeepFloyd IF is read' in _fails(capsys, *flags)


def test_another_encoder_s_cascade_is_refused(tmp_path):
  """Zeros at padding are not what these networks were trained with."""
  stage, params = if_tiny.stage('stage1')
  encoder = tiny_cascade.encoder(tmp_path)
  with pytest.raises(ValueError, match='take a text directory that import_if'):
    cascade_lib.Cascade(stages=(stage,), params=(params,), encoder=encoder)


def test_training_is_refused():
  stage, _ = if_tiny.stage('stage1')
  with pytest.raises(ValueError, match='sampled and exported but not trained'):
    tiny_job.config('text', stage=stage)

"""The cascade: what a picture depends on, how it is drawn, what is refused."""

import dataclasses
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import imagen_jax
from imagen_jax import stages
from imagen_jax.sampling import (
  bundles,
  denoising,
  edits,
  manifests,
  stage_programs,
  stage_sampler,
)
from imagen_jax.sampling import cascade as cascade_lib
from tests.support import tiny_cascade

FOX, KEYS, CAR = tiny_cascade.CAPTIONS
pytestmark = pytest.mark.filterwarnings('ignore:the prompt')


@pytest.fixture(scope='module')
def cascade():
  return tiny_cascade.load()


@pytest.fixture(scope='module')
def pictures(cascade):
  """Two of each caption, through all stages."""
  return cascade.sample([FOX, KEYS, CAR], num_images=2, seed=7)


@pytest.fixture
def copy(tmp_path):
  """A copy of the cascade directory that a test may damage."""
  return shutil.copytree(tiny_cascade.directory(), tmp_path / 'copy')


def test_pictures_do_not_depend_on_their_companions(cascade, pictures):
  """Bit for bit, at batches of 4, 2 and 1 in the three stages."""
  alone = cascade.sample([CAR], num_images=2, seed=7)
  np.testing.assert_array_equal(alone, pictures[4:])
  several = cascade.sample([KEYS, CAR, FOX], seed=7)
  np.testing.assert_array_equal(several, pictures[[2, 4, 0]])
  requests = [
    cascade_lib.Request(caption=KEYS, index=1),
    cascade_lib.Request(caption=FOX, index=1),
    cascade_lib.Request(caption=KEYS, index=0),
  ]
  drawn = cascade.draw(requests, cascade.plan(), seed=7)
  np.testing.assert_array_equal(drawn, pictures[[3, 1, 2]])


def test_pictures_depend_on_seed_index_and_caption(cascade, pictures):
  other_seed = cascade.sample([FOX], seed=8)
  distinct = [*pictures, *other_seed]
  for i, a in enumerate(distinct):
    for b in distinct[:i]:
      assert np.abs(a.astype(int) - b).mean() > 1


def test_progress_changes_no_bit(cascade, pictures):
  seen = []
  drawn = cascade.sample(
    [FOX, KEYS, CAR],
    num_images=2,
    seed=7,
    progress=lambda name, step, steps: seen.append((name, step, steps)),
  )
  np.testing.assert_array_equal(drawn, pictures)
  # Six pictures: 2 batches of 5 steps, 3 of 3, 6 of 2.
  for name, total in (('tiny_8', 10), ('tiny_16', 9), ('tiny_32', 12)):
    counts = [step for stage, step, steps in seen if stage == name]
    assert {steps for stage, _, steps in seen if stage == name} == {total}
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, total)


def test_a_stage_goes_on_from_the_picture_of_the_last(cascade, pictures):
  half = cascade.sample([FOX, KEYS], seed=7, upto=16)
  assert half.shape == (2, 16, 16, 3)
  text, mask = cascade.encoder.encode([FOX, KEYS])
  last = cascade.stages[2]
  drawn = stage_sampler.draw(
    last,
    cascade.params[2],
    last.sampling,
    bundles.Conditions(text=text, mask=mask, low_res=half),
    bundles.Seeds(seed=7, index=[0, 0]),
  )
  np.testing.assert_array_equal(drawn, pictures[[0, 2]])


def test_one_program_serves_every_number_of_steps(cascade):
  stage_programs.make.cache_clear()
  for steps, weight in ((1, 3.0), (2, 3.0), (7, 5.0)):
    cascade.sample([FOX], upto=8, steps=steps, guidance=weight)
  assert stage_programs.make.cache_info().currsize == 1
  stage = cascade.stages[0]
  part = stage_programs.compiled_part(stage, stage.sampling)
  run = stage_programs.make(stage, part, (8, 8), None, None).run
  assert run._cache_size() == 1


def _reference(cascade, low_res, text, mask, weight, aug_level):
  """Stage 16 in numpy: DDIM on cosine, dynamic thresholding, aug then up."""
  stage, params = cascade.stages[1], cascade.params[1]
  apply = jax.jit(stages.network(stage).apply)

  def sigmoid(x):
    return 1 / (1 + np.exp(-x))

  def alpha(logsnr):
    return np.sqrt(sigmoid(logsnr))

  def sigma(logsnr):
    return np.sqrt(sigmoid(-logsnr))

  def cosine(t):
    return np.clip(-2 * np.log(np.tan(np.pi / 2 * t)), -20, 20)

  key = jax.random.fold_in(jax.random.key(7), 16)  # seed, resolution
  key = jax.random.fold_in(key, 0)  # index

  def noise(purpose, r):
    return np.asarray(
      jax.random.normal(jax.random.fold_in(key, purpose), [r, r, 3])
    )

  level = float(stage.schedule(aug_level))
  low_res = low_res / 127.5 - 1.0
  low_res = alpha(level) * low_res + sigma(level) * noise(1, 8)
  up = np.asarray(jax.image.resize(low_res, [16, 16, 3], 'bilinear'))
  one = np.ones([1], np.float32)

  def predict(z, logsnr, text, mask):
    v = apply(
      {'params': params},
      z[None].astype(np.float32),
      one * np.float32(logsnr),
      text,
      mask,
      up[None].astype(np.float32),
      one * np.float32(level),
    )[0]
    return alpha(logsnr) * z - sigma(logsnr) * np.asarray(v, np.float64)

  z = noise(0, 16).astype(np.float64)
  null = np.zeros_like(text), np.arange(mask.shape[1])[None] == 0
  with np.errstate(divide='ignore'):
    grid = cosine(np.linspace(1, 0, stage.sampling.steps + 1))
  for now, after in zip(grid, grid[1:]):
    x0 = weight * predict(z, now, text, mask)
    x0 = x0 + (1 - weight) * predict(z, now, *null)
    s = max(np.percentile(np.abs(x0), 99.5), 1.0)
    x0 = np.clip(x0, -s, s) / s
    eps = (z - alpha(now) * x0) / sigma(now)
    z = alpha(after) * x0 + sigma(after) * eps
  return np.round(np.clip((x0 + 1) * 127.5, 0, 255))


@pytest.mark.parametrize('weight', [3.0, 1.0])
def test_a_stage_is_what_the_paper_says(cascade, weight):
  """Against a loop in numpy; weight 1 runs without the unconditional half."""
  small = cascade.sample([FOX], seed=7, upto=8)
  drawn = cascade.sample(
    [FOX], seed=7, upto=16, guidance=[3.0, weight], aug_level=0.3
  )
  text, mask = cascade.encoder.encode([FOX])
  expected = _reference(cascade, small[0], text, mask, weight, 0.3)
  difference = np.abs(drawn[0] - expected)
  assert difference.max() <= 2 and difference.mean() < 0.1


def test_weights_that_are_not_finite(cascade):
  params = jax.tree.map(lambda x: x * np.nan, cascade.params[0])
  broken = dataclasses.replace(cascade, params=(params, *cascade.params[1:]))
  with pytest.raises(FloatingPointError, match='tiny_8 .* not finite'):
    broken.sample([FOX], upto=8)


@pytest.mark.parametrize(
  'how',
  ['RESOURCE_EXHAUSTED:', 'INTERNAL: Error dispatching computation:'],
  ids=['accelerator', 'cpu'],
)
def test_a_device_without_enough_memory(how, cascade, monkeypatch):
  def begin(*unused):
    raise jax.errors.JaxRuntimeError(
      f'{how} Out of memory allocating 68719476736 bytes.\nMore.'
    )

  programs = stage_programs.Programs(begin, *[None] * 4)
  monkeypatch.setattr(stage_programs, 'make', lambda *_: programs)
  with pytest.raises(MemoryError, match='tiny_8: 4 of 8 x 8 pixels at') as e:
    cascade.sample([FOX])
  assert '68719476736 bytes' in str(e.value) and '--upto' in str(e.value)
  assert '\n' not in str(e.value)


def test_figures_are_those_of_the_step(cascade):
  """At the first step, where z is known, against the network itself."""
  stage, weight, seen = cascade.stages[0], 300.0, []
  plan = cascade.plan(upto=8, guidance=weight, steps=4)
  text, mask = cascade.encoder.encode([FOX])
  drawn = cascade.draw_texts(
    text, mask, [0], plan, seed=7, measure=lambda *said: seen.append(said)
  )
  np.testing.assert_array_equal(
    drawn, cascade.draw_texts(text, mask, [0], plan, seed=7)
  )
  assert [(name, [*rows], share) for name, rows, share, _ in seen] == [
    ('tiny_8', [0], share) for share in (0, 0.25, 0.5, 0.75)
  ]
  key = jax.random.key(7)
  for number in (8, 0, 0):  # resolution, index, purpose
    key = jax.random.fold_in(key, number)
  z = jax.random.normal(key, [1, 8, 8, 3])
  level = np.float32(stage.schedule(1.0))
  alpha, sigma = (np.sqrt(1 / (1 + np.exp(s * level))) for s in (-1, 1))

  def x0(text, mask):
    v = stages.network(stage).apply(
      {'params': cascade.params[0]}, z, np.float32([level]), text, mask
    )
    return alpha * z - sigma * v

  c = x0(text, mask)
  u = x0(0 * text, np.arange(mask.shape[1])[None] == 0)
  guided = u + weight * (c - u)
  outside = np.mean(np.abs(guided) > 1)
  moved = np.sqrt(np.mean(np.square(guided - c)))
  assert outside > 0.01 and abs(seen[0][3]['outside'][0] - outside) < 0.02
  np.testing.assert_allclose(seen[0][3]['guidance'][0], moved, rtol=1e-3)


def test_guidance_in_turn_is_the_same_picture_in_less_memory(cascade):
  drawn = cascade.sample([FOX], seed=7, upto=8, in_turn=True)
  expected = cascade.sample([FOX], seed=7, upto=8)
  difference = np.abs(drawn.astype(int) - expected)
  assert difference.max() <= 1 and difference.mean() < 0.01
  memory = [_temporaries(in_turn) for in_turn in (True, False)]
  assert memory[0] < 0.6 * memory[1], memory


def _temporaries(in_turn):
  """Bytes that a call of a wide network needs besides what it is given."""
  stage = tiny_cascade.stage(32)
  model = dataclasses.replace(stage.model, widths=(32, 32), fold=1)
  stage = dataclasses.replace(stage, model=model)
  params = tiny_cascade.random_params(stage)
  sampling = dataclasses.replace(stage.sampling, in_turn=in_turn)
  given = stages.example_inputs(stage, resolution=64)
  z, logsnr = given.pop('z'), given.pop('logsnr')
  inputs = denoising.Inputs(
    condition=given, null=given, levels=np.zeros(3), weights=np.full(3, 3.0)
  )

  def denoise(z, logsnr, inputs):
    return denoising.make_denoise(stage, sampling, params, inputs)(z, logsnr)

  program = jax.jit(denoise).lower(z, logsnr, inputs).compile()
  return program.memory_analysis().temp_size_in_bytes


def test_other_shapes_than_squares(cascade):
  drawn = cascade.sample([FOX], seed=7, upto=16, size=(16, 48))
  assert drawn.shape == (1, 16, 48, 3) and drawn.std() > 0
  square = cascade.sample([FOX], seed=7, upto=8, size=(8, 8))
  np.testing.assert_array_equal(square, cascade.sample([FOX], seed=7, upto=8))
  for size in ((16, 20), (16, 0), (16.0, 16), (16,)):
    with pytest.raises(ValueError, match='32 px this cascade draws multiples'):
      cascade.sample([FOX], size=size)
  source = edits.Source(picture=np.zeros((8, 8, 3), np.uint8))
  with pytest.raises(ValueError, match='a picture to change is square'):
    cascade.sample([FOX], size=(16, 48), source=source)


def test_the_later_stages_alone_draw_the_same(cascade):
  requests = [cascade_lib.Request(caption=FOX)]
  plan = cascade.plan(upto=16)
  base = cascade.draw(requests, plan[:1], seed=7)
  np.testing.assert_array_equal(
    cascade.draw(requests, plan, seed=7, given=base),
    cascade.sample([FOX], upto=16, seed=7),
  )
  with pytest.raises(ValueError, match=r'given are \[1, 16, 16, 3\]'):
    cascade.draw(requests, plan, seed=7, given=np.zeros([1, 16, 16, 3]))


def test_plan_takes_one_value_or_one_per_stage(cascade):
  def steps(plan):
    return [sampling.steps for sampling in plan]

  def levels(plan):
    return [sampling.aug_level for sampling in plan]

  assert steps(cascade.plan()) == [5, 3, 2]
  assert steps(cascade.plan(steps=9)) == [9, 9, 9]
  assert steps(cascade.plan(steps=[9])) == [9, 9, 9]
  assert steps(cascade.plan(steps=[9, 8], upto=16)) == [9, 8]
  assert levels(cascade.plan(aug_level=[0.2, 0.4])) == [0.1, 0.2, 0.4]
  assert levels(cascade.plan(aug_level=[0, 0.2, 0.4])) == [0, 0.2, 0.4]


def test_plan_takes_one_range_or_one_per_stage(cascade):
  def ranges(upto, guidance_range):
    plan = cascade.plan(upto=upto, guidance_range=guidance_range)
    return [sampling.guidance_range for sampling in plan]

  # Of two stages as well, where it could be taken for a value of each.
  for upto, n in ((8, 1), (16, 2), (32, 3)):
    assert ranges(upto, (-5.0, 5.0)) == [(-5.0, 5.0)] * n
    assert ranges(upto, [-5.0, 5.0]) == [(-5.0, 5.0)] * n
  assert ranges(16, [(-5.0, 5.0), 'off']) == [(-5.0, 5.0), None]


def test_a_preset_is_what_its_settings_are(cascade):
  plan = cascade.plan(preset='draft', guidance=2.5, upto=16)
  assert [sampling.steps for sampling in plan] == [8, 2]
  assert [sampling.sampler for sampling in plan] == ['dpmpp_2m'] * 2
  assert [sampling.guidance for sampling in plan] == [2.5] * 2
  drawn = cascade.sample([FOX], upto=8, seed=7, preset='draft')
  np.testing.assert_array_equal(
    drawn, cascade.sample([FOX], upto=8, seed=7, steps=8, sampler='dpmpp_2m')
  )
  assert cascade.plan(preset='draft', steps=3)[2].steps == 3


def test_odd_numbers_that_are_drawn(cascade):
  """Far from wise, but possible: finite pictures, and all differ."""
  drawn = [
    cascade.sample([FOX], upto=8, seed=7, **options)[0]
    for options in (
      {'steps': 1},
      {'guidance': 0},
      {'guidance': 1},
      {'guidance': 100},
      {'percentile': 100},
    )
  ]
  for i, a in enumerate(drawn):
    assert a.std() > 0
    assert all(np.any(a != b) for b in drawn[:i])


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'steps': [4, 4]}, r'steps has 2 values, 3 stages .*\(8, 16, 32\)'),
    ({'guidance': [1, 2, 3], 'upto': 16}, 'guidance has 3 values, 2 stages'),
    ({'aug_level': [0.1] * 4}, 'aug_level has 4 values, 3 stages'),
    ({'brightness': 3}, "no setting 'brightness'; there are guidance, guida"),
    ({'batch': 2}, 'batch is bound to the stages, .* imagen_jax.bind'),
    ({'guidance_range': (5.0, -5.0)}, 'it must rise, from the noisier'),
    ({'guidance_range': 3.0}, r'guidance_range is 3\.0; it must rise'),
    ({'cap': 'none'}, "cap is 'none'; it must be at least 1, or be off"),
    ({'steps': 0}, 'steps is 0'),
    ({'steps': 2.5}, r'steps is 2\.5'),
    ({'guidance': -1}, 'guidance is -1'),
    ({'guidance': float('nan')}, 'guidance is nan'),
    ({'aug_level': 1.5}, r'aug_level is 1\.5'),
    ({'guidance': float('inf')}, 'guidance is inf'),
    ({'threshold': 'hard'}, "threshold 'hard' is not one of"),
    ({'percentile': 0}, r'percentile is 0; it must lie in \(1, 100\]'),
    ({'percentile': 0.995}, r'percentile is 0\.995; it must lie in \(1, 100\]'),
    ({'percentile': 101}, r'percentile is 101; it must lie in \(1, 100\]'),
    ({'percentile': float('nan')}, 'percentile is nan'),
    ({'preset': 'best'}, "'best' is not one of paper, fast, draft; take"),
    ({'upto': 64}, 'upto is 64, .* 8, 16, 32'),
    ({'num_images': 0}, 'num_images is 0'),
    ({'seed': -1}, 'seed is -1'),
    ({'seed': 1.5}, r'seed is 1\.5; it must be a whole number'),
    ({'seed': 2**32}, 'seed is 4294967296'),
  ],
)
def test_options_that_make_no_sense(cascade, options, message):
  with pytest.raises(ValueError, match=message) as caught:
    cascade.sample([FOX], **options)
  assert '\n' not in str(caught.value)


def test_captions_are_a_list(cascade):
  with pytest.raises(ValueError, match='give a list'):
    cascade.sample(FOX)
  assert cascade.sample([], upto=8).shape == (0, 8, 8, 3)


def test_weights_of_another_network(cascade):
  base, *others = cascade.params
  kernel = base['input_conv']['kernel'][..., :-1]
  altered = {**base, 'input_conv': {**base['input_conv'], 'kernel': kernel}}
  broken = dataclasses.replace(cascade, params=(altered, *others))
  with pytest.raises(ValueError, match='not those of its stage.json') as e:
    broken.sample([FOX], upto=8)
  assert '\n' not in str(e.value) and 'bind the cascade again' in str(e.value)


def test_remarks(cascade):
  assert cascade.remarks([FOX]) == []
  (empty,) = cascade.remarks(['  '])
  assert 'empty prompt' in empty
  (unknown,) = cascade.remarks(['a Purple fox!'])
  assert unknown.endswith(': purple')
  assert dataclasses.replace(cascade, words=None).remarks(['purple']) == []
  lines = cascade.remarks([' '.join([FOX] * 6)])
  assert len(lines) == 1 and 'longer than 12 tokens' in lines[0]
  assert 'sunset' in lines[0].split('cut off:')[1]


def test_odd_captions_are_drawn_with_a_warning(cascade):
  with pytest.warns(UserWarning, match='empty prompt'):
    empty = cascade.sample([''], upto=8, seed=7)
  assert empty.std() > 0


def test_loading_through_the_package():
  loaded = imagen_jax.load_cascade(tiny_cascade.directory())
  assert loaded.words == set(tiny_cascade.WORDS)
  manifest = json.loads((tiny_cascade.directory() / manifests.FILE).read_text())
  assert loaded.id == manifest['id'] and len(loaded.id) == 12


def _truncate(directory):
  path = directory / 'stage_16' / 'model.safetensors'
  path.write_bytes(path.read_bytes()[:-100])


def _alter(directory):
  path = directory / 'text' / 'encoder.safetensors'
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)


def _edit(directory):
  path = directory / 'stage_8' / 'stage.json'
  path.write_text(path.read_text().replace('"steps": 5', '"steps": 6'))


def _remove(directory):
  (directory / 'text' / 'tokenizer.model').unlink()


def _fields(**changes):
  def change(directory):
    path = directory / manifests.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))

  return change


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (_truncate, r'stage_16/model\.safetensors is truncated or altered'),
    (_alter, r'encoder\.safetensors is truncated or altered'),
    (_edit, r'stage_8/stage\.json is truncated or altered'),
    (_remove, r'tokenizer\.model is missing'),
    (_fields(id='0' * 12), 'its id is 000000000000, its checksums give'),
    (_fields(format_version=99), 'format_version 99, this release reads 1'),
    (_fields(extra=1), 'has fields .*extra'),
    (_fields(checksums={}), 'stage_8 has no checksums'),
    (_fields(stages=5), 'altered: not all names are text'),
    (_fields(text=None), 'altered: not all names are text'),
    (_fields(words=[5]), 'altered: not all names are text'),
    (_fields(checksums=['x']), 'altered: not all names are text'),
    (_fields(stages=['../stage_8']), "'../stage_8' is no name of a directory"),
    (_fields(text='/etc'), "'/etc' is no name of a directory"),
    (_fields(checksums={'/etc/x': '0'}), "checksum of '/etc/x'"),
    (_fields(checksums={'text/../../x': '0'}), "checksum of 'text/../../x'"),
    (shutil.rmtree, 'does not exist'),
    (lambda d: (d / manifests.FILE).unlink(), 'has no cascade.json'),
    (lambda d: (d / manifests.FILE).write_text('{'), 'is damaged'),
    (lambda d: (d / manifests.FILE).write_text('[]'), 'format_version None'),
  ],
)
def test_damaged_directories(copy, damage, message):
  damage(copy)
  with pytest.raises(ValueError, match=message) as caught:
    cascade_lib.load_cascade(copy)
  assert '\n' not in str(caught.value)


def test_installation_without_a_cascade(monkeypatch, tmp_path):
  monkeypatch.setattr(cascade_lib, 'SHIPPED', tmp_path)
  with pytest.raises(ValueError, match='no cascade ships with this'):
    imagen_jax.load_cascade()


def test_stages_that_do_not_chain(cascade):
  eight, sixteen, thirty_two = cascade.stages
  same = dataclasses.replace(
    sixteen,
    resolution=8,
    low_res=8,
    model=dataclasses.replace(sixteen.model, resolution=8),
  )
  for wrong, message in (
    ((eight, thirty_two), 'tiny_32 starts from 16 px, .* give 8 px'),
    ((sixteen,), 'tiny_16 starts from 8 px, .* give nothing'),
    ((eight, eight), 'tiny_8 starts from nothing, .* give 8 px'),
    ((eight, same), 'tiny_16 gives 8 px, the stages before it 8 px; leave'),
    ((), '0 stages'),
  ):
    with pytest.raises(ValueError, match=message):
      dataclasses.replace(cascade, stages=wrong)


def test_encoder_of_another_length(cascade):
  short = dataclasses.replace(cascade.stages[0], max_length=5)
  with pytest.raises(ValueError, match='5 tokens, the encoder gives 16 and 12'):
    dataclasses.replace(cascade, stages=(short,))


def test_sampling_imports_no_training_library():
  """Start-up time; and TensorFlow never."""
  code = (
    'import sys, imagen_jax.sample; '
    "print({'tensorflow', 'optax', 'orbax', 'gin', 'torch', 'tensorstore', "
    "'tensorflow_datasets'} & set(sys.modules))"
  )
  result = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert result.stdout.strip() == 'set()'

"""A cascade of tiny random networks, 8 -> 16 -> 32 px, for tests."""

import atexit
import functools
import io
import pathlib
import shutil
import tempfile

import jax
import numpy as np
import sentencepiece

from imagen_jax import bind, stages
from imagen_jax.diffusion import schedules
from imagen_jax.models import efficient_unet, t5, unet
from imagen_jax.sampling import cascade
from imagen_jax.text import encoders, tokenizers

WIDTH, LENGTH = 16, 12
CAPTIONS = (
  'a red fox at sunset',
  'two pink keys under a night sky',
  'a blue car to the left of a yellow star',
)
WORDS = sorted({word for caption in CAPTIONS for word in caption.split()})


def stage(resolution, **sampling):
  """A stage of the cascade: the base at 8 px, else super-resolution."""
  base = resolution == 8
  sizes = {
    'resolution': resolution,
    'widths': (8, 8),
    'embedding_width': 8,
    'text_width': WIDTH,
    'groups': 2,
  }
  if base:
    model = unet.UNetConfig(
      **sizes, blocks=(1, 1), attention=(4,), head_width=4, text_projection=8
    )
  else:
    model = efficient_unet.EfficientUNetConfig(
      **sizes,
      blocks=(1, 1),
      strides=(1, 2),
      heads=2,
      attention_width=8,
      attention='cross',
      fold=2,
    )
  return stages.Stage(
    name=f'tiny_{resolution}',
    resolution=resolution,
    model=model,
    schedule=schedules.LinearBeta() if resolution == 32 else schedules.Cosine(),
    low_res=None if base else resolution // 2,
    text_width=WIDTH,
    max_length=LENGTH,
    sampling=stages.Sampling(
      **{
        'sampler': {8: 'ddpm', 16: 'ddim', 32: 'dpmpp_2m'}[resolution],
        'steps': {8: 5, 16: 3, 32: 2}[resolution],
        'guidance': 3.0,
        'batch': {8: 4, 16: 2, 32: 1}[resolution],
        **sampling,
      }
    ),
  )


def random_params(stage, seed=0):
  """Weights away from the zeros that some layers start with."""
  return random_arrays(_shapes(stage), seed)


@functools.cache
def _shapes(stage):
  return jax.eval_shape(
    stages.network(stage).init,
    jax.random.key(0),
    **stages.example_inputs(stage),
  )['params']


def random_arrays(shapes, seed=0):
  """A tree of normal arrays; no compilation, unlike `init`."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes
  )


def encoder(directory):
  """A random text encoder; its tokenizer is trained here, into `directory`."""
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter([*CAPTIONS, *WORDS]),
    model_writer=model,
    vocab_size=300,
    hard_vocab_limit=False,
    byte_fallback=True,
    pad_id=tokenizers.PAD,
    eos_id=tokenizers.EOS,
    unk_id=tokenizers.UNKNOWN,
    bos_id=-1,
    minloglevel=2,
  )
  path = directory / 'trained.model'
  path.write_bytes(model.getvalue())
  tokenizer = tokenizers.SentencePieceTokenizer(path, LENGTH)
  config = t5.T5Config(
    vocab_size=tokenizer.vocab_size,
    emb_dim=WIDTH,
    num_heads=2,
    head_dim=8,
    mlp_dim=16,
    num_encoder_layers=1,
  )
  params = random_arrays(
    jax.eval_shape(
      t5.T5Encoder(config).init, jax.random.key(1), *tokenizer.encode(['a'])
    )['params']
  )
  return encoders.TextEncoder(config=config, params=params, tokenizer=tokenizer)


@functools.cache
def parts():
  """A directory with stage directories s8, s16, s32 and text, not bound.

  Made once for all tests: copy what you change.
  """
  directory = pathlib.Path(tempfile.mkdtemp(prefix='tiny_cascade_'))
  atexit.register(shutil.rmtree, directory, ignore_errors=True)
  for number, resolution in enumerate((8, 16, 32)):
    part = stage(resolution)
    stages.write(
      directory / f's{resolution}', part, random_params(part, number)
    )
  encoders.save(directory / 'text', encoder(directory))
  return directory


@functools.cache
def directory():
  """The cascade directory of the three; made once, copy what you change."""
  out = parts() / 'cascade'
  bind.bind(
    [parts() / f's{r}' for r in (8, 16, 32)],
    parts() / 'text',
    out,
    words=WORDS,
    settings={},
  )
  return out


@functools.cache
def load():
  """The loaded cascade; its compiled programs serve all tests."""
  return cascade.load_cascade(directory(), devices=jax.devices()[:1])

"""A cascade of tiny random networks, 8 -> 16 -> 32 px, for tests."""

import io

import jax
import numpy as np
import sentencepiece

from imagen_jax import bind, stages
from imagen_jax.diffusion import schedules
from imagen_jax.models import efficient_unet, t5, unet
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
  shapes = jax.eval_shape(
    stages.network(stage).init,
    jax.random.key(0),
    **stages.example_inputs(stage),
  )['params']
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
  tokens, mask = tokenizer.encode(['a'])
  params = t5.T5Encoder(config).init(jax.random.key(1), tokens, mask)['params']
  return encoders.TextEncoder(config=config, params=params, tokenizer=tokenizer)


def write_parts(directory):
  """Stage directories s8, s16, s32 and a text directory, not yet bound."""
  for number, resolution in enumerate((8, 16, 32)):
    part = stage(resolution)
    stages.write(
      directory / f's{resolution}', part, random_params(part, number)
    )
  encoders.save(directory / 'text', encoder(directory))


def write(directory, resolutions=(8, 16, 32)):
  """A whole cascade directory, `directory`/cascade; returns its path."""
  write_parts(directory)
  out = directory / 'cascade'
  bind.bind(
    [directory / f's{r}' for r in resolutions],
    directory / 'text',
    out,
    words=WORDS,
    settings={},
  )
  return out

"""A cascade as programs of StableHLO, which need none of this package.

  programs(cascade, plan, batch) -> [Program, ...]     in the order of drawing
  write(out, ...)                                      what `run.py` there runs

  text      tokens [b, l], mask [b, l]            -> text [b, l, d]
  layout    text, mask, seed [], index [b]        -> boxes [b, k, 6]
  stage_64  text, mask, seed, index, boxes        -> uint8 [b, 64, 64, 3]
  stage_256 text, mask, seed, index, low_res      -> uint8 [b, 256, 256, 3]

All steps of a stage are one `lax.scan` (`loop.scan`); how it samples is part of
its program. Weights stay outside, in safetensors files by their names.
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.export
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import safetensors

from imagen_jax import stages
from imagen_jax.files import weights
from imagen_jax.sampling import (
  bundles,
  layout_sampler,
  manifests,
  stage_programs,
  stage_sampler,
)
from imagen_jax.stages import layout_stage
from imagen_jax.text import encoders, tokenizer_files, tokenizers

FORMAT_VERSION = 1
FILE = 'programs.json'
PLATFORMS = ('cpu', 'cuda', 'rocm', 'tpu')
_SCRIPT = pathlib.Path(__file__).with_name('exported_script.py')
_DTYPES = {
  'F32': np.dtype(np.float32),
  'F16': np.dtype(np.float16),
  'BF16': np.dtype(ml_dtypes.bfloat16),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
  """One function of weights {name: array} and inputs {name: array}."""

  name: str
  function: Callable
  weights: pathlib.Path  # the file that its weights lie in
  shapes: Mapping[str, jax.ShapeDtypeStruct]  # of the inputs
  # Where each input comes from: a program's name, or one of the first four,
  # tokens, mask, seed and index.
  sources: Mapping[str, str]


def programs(cascade, directory, plan, batch=1) -> list[Program]:
  """The programs of the stages that `plan` has, and of what is before them.

  Args:
    cascade: a `cascade.Cascade`.
    directory: that it was read from.
    plan: of `Cascade.plan`.
    batch: pictures drawn at a time.

  Raises ValueError where something of it has no program.
  """
  if cascade.encoder.as_if:
    raise ValueError(
      'the text encoder cleans captions as DeepFloyd IF does, which is no part '
      'of a program; imagen_jax.export_diffusers writes stages of its kind'
    )
  directory = pathlib.Path(directory)
  manifest = manifests.read(directory)
  drawn = cascade.stages[: len(plan)]
  found = [_text(cascade.encoder, directory / manifest.text, batch)]
  tells = cascade.encoder, batch
  boxes = None
  if cascade.layout is not None and drawn[0].layout is not None:
    boxes = manifest.layout
    found.append(_layout(cascade.layout[0], directory / boxes, *tells))
  before = None
  for name, stage, sampling in zip(manifest.stages, drawn, plan):
    told = boxes if stage.layout is not None else None
    found.append(
      _stage(stage, sampling, directory / name, before, told, *tells)
    )
    before = name
  return found


def write(out, exported: Sequence[Program], cascade, platforms) -> None:
  """Writes the programs, their weights, `programs.json` and `run.py`.

  Args:
    out: a directory that is there and empty.
    exported: of `programs`.
    cascade: that they are of.
    platforms: some of PLATFORMS, for which each is lowered.
  """
  out = pathlib.Path(out)
  listed = []
  for program in exported:
    file, kept = f'{program.name}.stablehlo', f'{program.name}.safetensors'
    shutil.copyfile(program.weights, out / kept)
    lowered = jax.export.export(jax.jit(program.function), platforms=platforms)(
      _weight_shapes(out / kept), dict(program.shapes)
    )
    (out / file).write_bytes(lowered.serialize())
    (result,) = lowered.out_avals
    listed.append(
      {
        'name': program.name,
        'file': file,
        'weights': kept,
        'inputs': dict(program.sources),
        'shapes': {n: _described(x) for n, x in program.shapes.items()},
        'output': _described(result),
      }
    )
  tokenizer = cascade.encoder.tokenizer
  file, content = tokenizer_files.to_file(tokenizer)
  (out / file).write_bytes(content)
  shutil.copyfile(_SCRIPT, out / 'run.py')
  batch = exported[0].shapes['tokens'].shape[0]
  about = {
    'format_version': FORMAT_VERSION,
    'jax': jax.__version__,
    'platforms': list(platforms),
    'cascade': cascade.id,
    'licence': cascade.licence,
    'batch': batch,
    'tokenizer': file,
    'max_length': tokenizer.max_length,
    'pad': getattr(tokenizer, 'pad', tokenizers.PAD),
    'programs': listed,
  }
  weights.save_json(out / FILE, about)


def _described(x):
  return {'shape': list(x.shape), 'dtype': str(x.dtype)}


def _weight_shapes(path):
  """{name: shape and dtype} of a file of weights."""
  shapes = {}
  with safetensors.safe_open(str(path), framework='numpy') as file:
    for name in file.keys():
      part = file.get_slice(name)
      if part.get_dtype() not in _DTYPES:
        raise ValueError(
          f'{path.name}: {name} is {part.get_dtype()}; programs take '
          f'weights in {", ".join(_DTYPES)}'
        )
      dtype = _DTYPES[part.get_dtype()]
      shapes[name] = jax.ShapeDtypeStruct(tuple(part.get_shape()), dtype)
  return shapes


def _params(flat):
  """Weights by name, of any precision, as a network's parameters."""
  return weights.unflatten(
    {name: x.astype(jnp.float32) for name, x in flat.items()}
  )


def _shape(*dimensions, dtype=jnp.float32):
  return jax.ShapeDtypeStruct(dimensions, dtype)


def _of_text(encoder, batch):
  """(shapes, sources) of what every program after the text is told."""
  length = encoder.tokenizer.max_length
  shapes = {
    'text': _shape(batch, length, encoder.config.width),
    'mask': _shape(batch, length, dtype=jnp.bool),
    'seed': _shape(dtype=jnp.uint32),
    'index': _shape(batch, dtype=jnp.int32),
  }
  return shapes, {'text': 'text', **{n: n for n in ('mask', 'seed', 'index')}}


def _text(encoder, directory, batch):
  length = encoder.tokenizer.max_length

  def embed(flat, inputs):
    return encoders.embed(
      encoder.config,
      _params(flat),
      inputs['tokens'],
      inputs['mask'],
      encoder.as_if,
    )

  return Program(
    name='text',
    function=embed,
    weights=directory / encoders.WEIGHTS_FILE,
    shapes={
      'tokens': _shape(batch, length, dtype=jnp.int32),
      'mask': _shape(batch, length, dtype=jnp.bool),
    },
    sources={'tokens': 'tokens', 'mask': 'mask'},
  )


def _layout(stage, directory, encoder, batch):
  shapes, sources = _of_text(encoder, batch)

  def place(flat, inputs):
    told = bundles.Conditions(text=inputs['text'], mask=inputs['mask'])
    seeds = bundles.Seeds(seed=inputs['seed'], index=inputs['index'])
    return layout_sampler.program(stage)(_params(flat), told, seeds)

  return Program(
    name=directory.name,
    function=place,
    weights=directory / layout_stage.WEIGHTS_FILE,
    shapes=shapes,
    sources=sources,
  )


def _stage(stage, sampling, directory, before, boxes, encoder, batch):
  """Of a stage that follows the program `before` and is told `boxes`."""
  if stages.is_if(stage):
    raise ValueError(
      f'stage {stage.name} is of the IF kind, whose programs are not exported; '
      'imagen_jax.export_diffusers writes it as diffusers has it'
    )
  shapes, sources = _of_text(encoder, batch)
  if before is not None:
    shapes['low_res'] = _shape(
      batch, stage.low_res, stage.low_res, 3, dtype=jnp.uint8
    )
    sources['low_res'] = before
  if boxes is not None:
    shapes['boxes'] = _shape(batch, stage.layout.boxes, 6)
    sources['boxes'] = boxes

  def draw(flat, inputs):
    return _drawn(stage, sampling, _params(flat), dict(inputs))

  return Program(
    name=directory.name,
    function=draw,
    weights=directory / stages.WEIGHTS_FILE,
    shapes=shapes,
    sources=sources,
  )


def _drawn(stage, sampling, params, inputs):
  """As `stage_sampler.draw` of one batch on one device: uint8 [b, h, w, 3]."""
  seeds = bundles.Seeds(seed=inputs.pop('seed'), index=inputs.pop('index'))
  edge = 0 if 'low_res' not in inputs else stages.edge(stage, sampling)
  if edge:
    inputs['low_res'] = bundles.widened(inputs['low_res'], sampling.margin, jnp)
  side = stage.resolution + 2 * edge
  programs = stage_programs.make(
    stage,
    stage_programs.compiled_part(stage, sampling),
    (side, side),
    None,
    None,
  )
  steps = sampling.steps
  numbers = stage_programs.Numbers(
    fractions=stage_sampler.fractions(sampling, steps),
    steps=np.int32(steps),
    guidance=np.float32(sampling.guidance),
    aug_level=np.float32(sampling.aug_level),
  )
  carry, keys, levels, given = programs.begin(
    params, seeds, bundles.Conditions(**inputs), numbers, None, None
  )
  carry = programs.run_all(carry, levels[: steps + 1], keys, (params, given))
  pictures, _ = programs.finish(carry.z)
  return pictures[:, edge : side - edge, edge : side - edge]

"""Makes tests/data/if_tiny: tiny IF pipelines and what diffusers makes of them.

  python tools/if_reference.py SOURCE OUT

SOURCE holds tiny pipelines with random weights in diffusers' layout
(stage1_base, stage2_base), with inputs beside them; OUT gets them with weights
rounded to 16 bits, computed with in float32, and the outputs of stock
diffusers (0.42.1), which must be installed beside torch and transformers. No
released weight is anywhere near.
"""

import pathlib
import shutil
import sys

import diffusers
import numpy as np
import torch
from diffusers.pipelines.deepfloyd_if import (
  pipeline_if,
  pipeline_if_superresolution,
)
from diffusers.schedulers import scheduling_ddpm

_STEPS = 4


def main(source, out):
  source, out = pathlib.Path(source), pathlib.Path(out)
  torch.set_num_threads(1)
  for name in ('scheduler.npz', 'timesteps.json', 'captions.json'):
    shutil.copyfile(source / name, out / name)
  stage_one, stage_two = source / 'stage1_base', source / 'stage2_base'
  copy_stage(stage_one, out / 'stage1', variant='fp16')
  copy_stage(stage_two, out / 'stage2', variant=None)
  copy_text(stage_one, out / 'stage1')
  network_outputs(out / 'stage1', stage_one / 'unet.npz')
  network_outputs(out / 'stage2', stage_two / 'unet.npz')
  low_res = stage_one_runs(out / 'stage1')
  stage_two_runs(out / 'stage2', low_res)


def copy_stage(source, out, variant):
  """Configs, and the U-Net rounded to 16 bits."""
  out.mkdir(parents=True, exist_ok=True)
  for name in ('model_index.json', *source.glob('*scheduler*')):
    path = source / name
    if path.is_dir():
      shutil.copytree(path, out / path.name, dirs_exist_ok=True)
    else:
      shutil.copyfile(path, out / path.name)
  unet = load(source).half()
  unet.save_pretrained(out / 'unet', variant=variant)
  shutil.copyfile(source / 'unet/config.json', out / 'unet/config.json')


def copy_text(source, out):
  """The text encoder of 16 bits, its tokenizer and its outputs."""
  target = out / 'text_encoder'
  target.mkdir(exist_ok=True)
  for path in (source / 'text_encoder').iterdir():
    if 'fp16' in path.name or path.name == 'config.json':
      shutil.copyfile(path, target / path.name)
  (out / 'tokenizer').mkdir(exist_ok=True)
  shutil.copyfile(
    source / 'tokenizer/spiece.model', out / 'tokenizer/spiece.model'
  )
  text = np.load(source / 'text.npz')
  np.savez_compressed(
    out / 'text.npz',
    ids=text['ids'].astype(np.int16),
    embeds=text['fp16_weights_embeds'],
  )
  shutil.copyfile(source / 'text.json', out / 'text.json')


def load(stage):
  """The U-Net of a stage, in float32."""
  half = (stage / 'unet/diffusion_pytorch_model.fp16.safetensors').is_file()
  whole = (stage / 'unet/diffusion_pytorch_model.safetensors').is_file()
  return diffusers.UNet2DConditionModel.from_pretrained(
    stage / 'unet',
    variant='fp16' if half and not whole else None,
    torch_dtype=torch.float32,
  ).eval()


@torch.no_grad()
def network_outputs(stage, inputs):
  """unet.npz: inputs as given, outputs of the rounded weights."""
  unet, given = load(stage), np.load(inputs)
  second = unet.config.class_embed_type is not None

  def run(sample, time, text, level=250, mask=None):
    sample, text = (
      torch.tensor(np.float32(x)) for x in (given[sample], given[text])
    )
    text = text[: len(sample)]
    output = unet(
      sample,
      torch.as_tensor(time),
      encoder_hidden_states=text,
      class_labels=torch.as_tensor(level).expand(len(sample))
      if second
      else None,
      encoder_attention_mask=mask,
    )
    return output.sample.numpy()

  names = ['sample', 'text', 'text_short', 'sample_rect', 'mask']
  arrays = {name: given[name] for name in names}
  arrays['timesteps'] = np.array([0, 250, 777, 999])
  arrays['out'] = np.stack(
    [run('sample', int(t), 'text') for t in arrays['timesteps']]
  )
  arrays['timesteps_mixed'] = np.array([3, 901])
  arrays['out_mixed'] = run('sample', arrays['timesteps_mixed'], 'text')
  arrays['out_rect'] = run('sample_rect', 500, 'text')
  arrays['out_short'] = run('sample', 250, 'text_short')
  mask = torch.tensor(given['mask'])
  arrays['out_masked'] = run('sample', 250, 'text', mask=mask)
  if second:
    arrays['levels_mixed'] = np.array([0, 640])
    arrays['out_levels_mixed'] = run(
      'sample', 500, 'text', arrays['levels_mixed']
    )
  np.savez_compressed(stage / 'unet.npz', **arrays)


class Noise:
  """Given noise in the place of torch's, in the order it is asked for."""

  def __init__(self, seed):
    self.rng, self.drawn = np.random.RandomState(seed), []

  def __call__(self, shape, **_):
    x = self.rng.normal(size=tuple(shape)).astype(np.float16)
    self.drawn.append(x)
    return torch.tensor(np.float32(x))

  def __enter__(self):
    self.modules = pipeline_if, pipeline_if_superresolution, scheduling_ddpm
    self.before = [module.randn_tensor for module in self.modules]
    for module in self.modules:
      module.randn_tensor = self
    return self

  def __exit__(self, *_):
    for module, before in zip(self.modules, self.before):
      module.randn_tensor = before


def embeddings(stage, rows):
  text = np.load(stage / 'text.npz')['embeds'][rows]
  return torch.tensor(text)


def stage_one_runs(stage):
  """runs.npz of the base; returns the low-resolution picture of stage II."""
  parts = {
    'unet': load(stage),
    'text_encoder': None,
    'tokenizer': None,
    'safety_checker': None,
    'feature_extractor': None,
    'watermarker': None,
    'requires_safety_checker': False,
  }
  learned = diffusers.DDPMScheduler.from_pretrained(stage / 'scheduler')
  fixed = diffusers.DDPMScheduler.from_config(
    learned.config, variance_type='fixed_small', thresholding=False
  )
  runs = {
    'guided': (learned, [0, 1], [4, 4], 7.0, {'num_inference_steps': _STEPS}),
    'negative': (learned, [0], [2], 3.5, {'timesteps': [999, 572, 142, 0]}),
    'unguided': (learned, [0], [4], 1.0, {'num_inference_steps': _STEPS}),
    'late': (learned, [0], [4], 1.5, {'timesteps': [200, 60, 20, 0]}),
    'fixed_small': (fixed, [0], [4], 7.0, {'num_inference_steps': _STEPS}),
  }
  arrays = {}
  for seed, (name, run) in enumerate(runs.items()):
    scheduler, rows, negative, weight, times = run
    pipe = diffusers.IFPipeline(scheduler=scheduler, **parts)
    pipe.set_progress_bar_config(disable=True)
    with Noise(seed) as noise:
      image = pipe(
        prompt_embeds=embeddings(stage, rows),
        negative_prompt_embeds=embeddings(stage, negative),
        guidance_scale=weight,
        output_type='pt',
        **times,
      ).images
    arrays |= {
      f'{name}/rows': np.array(rows),
      f'{name}/negative_rows': np.array(negative),
      f'{name}/guidance': np.float32(weight),
      f'{name}/timesteps': scheduler.timesteps.numpy(),
      f'{name}/init_noise': noise.drawn[0],
      f'{name}/step_noise': np.stack(noise.drawn[1:]),
      f'{name}/image': image.numpy(),
    }
  np.savez_compressed(stage / 'runs.npz', **arrays)
  return arrays['guided/image'][:1]


def stage_two_runs(stage, low_res):
  """runs.npz of the super-resolution stage, on small pictures."""
  read = diffusers.DDPMScheduler.from_pretrained
  pipe = diffusers.IFSuperResolutionPipeline(
    unet=load(stage),
    scheduler=read(stage / 'scheduler'),
    image_noising_scheduler=read(stage / 'image_noising_scheduler'),
    text_encoder=None,
    tokenizer=None,
    safety_checker=None,
    feature_extractor=None,
    watermarker=None,
    requires_safety_checker=False,
  )
  pipe.set_progress_bar_config(disable=True)
  base = stage.parent / 'stage1'
  runs = {
    'chain': (low_res[:, :, :8, :8], (32, 32), 4.0, 250, [660, 330, 0]),
    'rect': (low_res[:, :, :8, :12], (32, 48), 1.0, 0, [400, 0]),
  }
  arrays = {}
  for seed, (name, run) in enumerate(runs.items()):
    picture, (height, width), weight, level, times = run
    with Noise(100 + seed) as noise:
      image = pipe(
        image=torch.tensor(picture),
        height=height,
        width=width,
        prompt_embeds=embeddings(base, [0]),
        negative_prompt_embeds=embeddings(base, [4]),
        guidance_scale=weight,
        noise_level=level,
        timesteps=times,
        output_type='pt',
      ).images
    arrays |= {
      f'{name}/low_res': picture,
      f'{name}/guidance': np.float32(weight),
      f'{name}/level': np.int64(level),
      f'{name}/timesteps': np.array(times),
      f'{name}/init_noise': noise.drawn[0],
      f'{name}/low_res_noise': noise.drawn[1],
      f'{name}/step_noise': np.stack(noise.drawn[2:]),
      f'{name}/image': image.numpy(),
    }
  np.savez_compressed(stage / 'runs.npz', **arrays)


if __name__ == '__main__':
  main(*sys.argv[1:])

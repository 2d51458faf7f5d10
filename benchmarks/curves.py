"""Draws training curves of one or more work directories as a PNG.

  python benchmarks/curves.py --out=curves.png runs/scenes_64 runs/scenes_256

Reads metrics.jsonl; needs matplotlib (the `dev` extra). One panel per
directory: loss against pictures seen, smoothed, and the validation loss.
"""

import argparse
import json
import pathlib
import re

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np

COLUMNS = 3  # of panels
SMOOTH = 0.6  # of the running mean over reports


def rows(workdir):
  """The rows of a metrics.jsonl."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def batch_size(workdir):
  """Pictures per step, from the run's own configuration."""
  text = (workdir / 'config.gin').read_text()
  return int(re.search(r'TrainConfig\.batch_size = (\d+)', text).group(1))


def smooth(values):
  """Running mean that does not remember its start."""
  out, total, weight = [], 0.0, 0.0
  for value in values:
    total = SMOOTH * total + value
    weight = SMOOTH * weight + 1.0
    out.append(total / weight)
  return np.array(out)


def panel(axis, workdir):
  """One stage: training loss, smoothed, and validation loss."""
  data, batch = rows(workdir), batch_size(workdir)
  train = [(r['step'] * batch, r['loss']) for r in data if 'loss' in r]
  held_out = [
    (r['step'] * batch, r['validation_loss'])
    for r in data
    if 'validation_loss' in r
  ]
  x, y = np.array(train).T
  axis.plot(x / 1000, y, color='0.85', linewidth=0.8)
  axis.plot(x / 1000, smooth(y), color='C0', label='training, smoothed')
  if held_out:
    x, y = np.array(held_out).T
    axis.plot(
      x / 1000, y, 'o-', color='C1', label='validation, averaged weights'
    )
  axis.set_yscale('log')
  axis.set_title(workdir.name)
  axis.set_xlabel('thousand pictures')
  axis.set_ylabel('weighted squared error')
  axis.legend(frameon=False)


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('workdirs', nargs='+', type=pathlib.Path)
  parser.add_argument('--out', required=True, help='PNG to write')
  args = parser.parse_args()
  columns = min(COLUMNS, len(args.workdirs))
  rows_of_panels = -(-len(args.workdirs) // columns)
  figure, axes = plt.subplots(
    rows_of_panels,
    columns,
    figsize=(4.6 * columns, 3.6 * rows_of_panels),
    squeeze=False,
  )
  for axis, workdir in zip(axes.flat, args.workdirs):
    panel(axis, workdir)
  for axis in axes.flat[len(args.workdirs) :]:
    axis.remove()
  figure.tight_layout()
  figure.savefig(args.out, dpi=90)


if __name__ == '__main__':
  main()

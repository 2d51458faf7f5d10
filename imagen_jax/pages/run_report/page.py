"""The report on a run, as one file of HTML that needs nothing beside it.

page(run, scores, remarks) -> text
"""

import base64
import html
import io
import json
import pathlib
import time
from collections.abc import Sequence

import numpy as np

from imagen_jax.data import images
from imagen_jax.files import pictures, plain
from imagen_jax.pages import charts, frame
from imagen_jax.pages.run_report import curves, runs

SHEETS = 8  # of the samples over time, the first and the last among them
SIDE = 1024  # pixels of a sheet at most, its longer side half as much again

# Of a sheet's file that is looked at; those of `previews` are smaller.
_PIXELS = 4 * pictures.SHEET_PIXELS
_BYTES = 3 * _PIXELS


def page(run: runs.Run, scores: Sequence, remarks: Sequence[str]) -> str:
  """The whole page; `scores` are tables as `score_files` has them.

  Args:
    run: what the work directory tells.
    scores: with title, protocol, columns, rows, note and description.
    remarks: of reading the scores, a line each.
  """
  name = run.workdir.resolve().name
  parts = [
    f'<main><h1>{html.escape(name)}</h1>',
    *(
      f'<p class="notice">{html.escape(remark)}</p>'
      for remark in (*run.remarks, *remarks)
    ),
    _figures(run),
  ]
  for title, sentence, figures in curves.sections(run):
    parts.append(f'<h2>{html.escape(title)}</h2>')
    if sentence:
      parts.append(f'<p>{html.escape(sentence)}</p>')
    parts.append(f'<div class="charts">{"".join(figures)}</div>')
  parts += _samples(run)
  parts += _scores(scores)
  parts += _hardware(run)
  if run.config:
    parts.append(
      '<h2>Configuration</h2><details open><summary>config.gin, every default '
      f'filled in</summary><pre>{html.escape(run.config)}</pre></details>'
    )
  parts.append(
    f'<p>Written {time.strftime("%Y-%m-%d %H:%M")} by imagen_jax.report of '
    f'{len(run.rows):,} reports.</p></main>'
  )
  title = f'{name}: report on a training run'
  return frame.standalone(title, '\n'.join(parts), 'charts.css', 'report.css')


def _figures(run):
  """The numbers that one looks for first."""
  steps, total = run.rows[-1]['step'], run.count('TrainConfig.steps')
  found = [('steps', f'{steps:,}', f'of {total:,}' if total else '')]
  batch = run.count('TrainConfig.batch_size')
  if batch:
    found.append(
      ('pictures seen', charts.number(steps * batch), f'{batch:,} a step')
    )
  where, losses = run.series('loss')
  if losses:
    last = np.mean(losses[-max(1, len(losses) // 20) :])
    found.append(('training loss', charts.number(last), 'mean at the end'))
  where, losses = run.series('validation_loss')
  if losses:
    best = int(np.argmin(losses))
    said = f'least, at step {where[best]:,}'
    if best < len(losses) - 1:
      said += f'; {charts.number(losses[-1])} at the end'
    found.append(('validation loss', charts.number(losses[best]), said))
  _, gaps = run.series('validation_caption_gap')
  if gaps:
    found.append(('caption gap', charts.number(gaps[-1]), 'validation'))
  _, speeds = run.series('images_per_second')
  if speeds:
    said = f'median of {len(speeds):,} reports'
    found.append(('images/s', charts.number(float(np.median(speeds))), said))
  _, shares = run.series('peak_share')
  if shares:
    found.append(('of the peak', f'{np.median(shares):.1%}', 'median'))
  if run.seconds:
    found.append(('time', _duration(run.seconds), 'first to last report'))
  cells = ''.join(
    f'<div><dt>{html.escape(what)}</dt><dd>{html.escape(value)}'
    f'<small>{html.escape(said)}</small></dd></div>'
    for what, value, said in found
  )
  return f'<dl class="figures">{cells}</dl>'


def _samples(run):
  """Sheets side by side: a caption keeps its height on all of them."""
  if not run.samples:
    return []
  places = np.linspace(0, len(run.samples) - 1, min(SHEETS, len(run.samples)))
  chosen = [run.samples[i] for i in places.round().astype(int)]
  figures, left_out = [], []
  for step, path in chosen:
    try:
      kind, data = _shrunk(path)
    except (OSError, ValueError):
      left_out.append(path.name)
      continue
    alt = f'Drawn at step {step:,}: {"; ".join(run.captions) or "a sheet"}'
    figures.append(
      f'<figure><figcaption>step {step:,}</figcaption>'
      f'<img alt="{html.escape(alt)}" '
      f'src="data:image/{kind};base64,{data}"></figure>'
    )
  said = f'{len(figures)} of {len(run.samples)} sheets in samples/'
  if left_out:
    said += f'; {", ".join(left_out)} cannot be read'
  rows = ''.join(f'<li>{html.escape(c)}</li>' for c in run.captions)
  return [
    '<h2>Samples over time</h2>',
    f'<p>{html.escape(said)}: the same captions and noise each time.</p>',
    f'<ol class="captions">{rows}</ol>' if rows else '',
    f'<div class="pictures" tabindex="0" role="group" aria-label="Samples over '
    f'time, {len(figures)} sheets">{"".join(figures)}</div>',
  ]


def _shrunk(path: pathlib.Path):
  """(kind, base64) of a sheet: as it is, or smaller and as JPEG.

  Raises OSError or ValueError where it is none, or larger than sheets are.
  """
  data = plain.read(path, _BYTES)
  width, height = images.header(data)
  if width * height > _PIXELS:
    raise ValueError(f'{width} x {height} pixels')
  image = images.decode(data)
  if image.width <= SIDE and len(data) < 300_000 and data[:4] == b'\x89PNG':
    return 'png', base64.b64encode(data).decode()
  image.thumbnail((SIDE, 3 * SIDE))
  out = io.BytesIO()
  image.save(out, 'JPEG', quality=88)
  return 'jpeg', base64.b64encode(out.getvalue()).decode()


def _scores(tables):
  """A table a protocol: what does not compare stands apart."""
  if not tables:
    return []
  parts = ['<h2>Scores</h2>']
  for table in tables:
    head = ''.join(
      f'<th scope="col">{html.escape(c)}</th>' for c in ('', *table.columns)
    )
    rows = ''.join(
      f'<tr><th scope="row">{html.escape(whose)}</th>'
      + ''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)
      + '</tr>'
      for whose, cells in table.rows
    )
    parts.append(
      f'<h3>{html.escape(table.title)}, protocol <code>'
      f'{html.escape(table.protocol)}</code></h3><div class="wide"><table>'
      f'<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
    if table.note:
      parts.append(f'<p>{html.escape(table.note)}</p>')
    if table.description:
      text = json.dumps(table.description, indent=2, ensure_ascii=False)
      parts.append(
        '<details><summary>The whole protocol</summary>'
        f'<pre>{html.escape(text)}</pre></details>'
      )
  return parts


def _hardware(run):
  parts = ['<h2>Hardware</h2>']
  if not run.hardware:
    return [
      *parts,
      '<p>Not recorded: the run was made by a version that did not yet write '
      'hardware.jsonl.</p>',
    ]
  for start in run.hardware:
    number = start.get('step', 0)
    said = f'from step {number:,}' if isinstance(number, int) else ''
    devices, processes = start.get('devices'), start.get('processes')
    rows = [
      ('devices', f'{devices} x {start.get("device")}'),
      ('processes', f'{processes}'),
      ('host', f'{start.get("host")}, {start.get("cores")} cores'),
      ('versions', f'jax {start.get("jax")}, Python {start.get("python")}'),
    ]
    parts += [f'<h3>{html.escape(said)}</h3>', frame.facts(rows)]
  return parts


def _duration(seconds):
  hours, minutes = divmod(int(seconds) // 60, 60)
  return f'{hours:,} h {minutes:02d} min' if hours else f'{minutes} min'

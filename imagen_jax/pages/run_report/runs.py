"""What a training run left in its work directory.

read(workdir) -> Run. Nothing but metrics.jsonl has to be there; what cannot be
read is passed over and told in `remarks`.
"""

import ast
import dataclasses
import pathlib
import re

from imagen_jax.files import json_files, plain
from imagen_jax.training import hardware, interruptions, metrics

METRICS = 'metrics.jsonl'
CONFIG = 'config.gin'
# Of the numbers in a chart; those of float32 lie between 1e-45 and 3e38.
_LEAST, _LARGEST = 1e-100, 1e100
_BYTES = 16 << 20  # of a file beside metrics.jsonl; more is none of ours


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """A run as its files tell it."""

  workdir: pathlib.Path
  rows: list[dict]  # of metrics.jsonl, by step
  config: str  # config.gin; '' = there is none
  settings: dict[str, object]  # 'TrainConfig.steps' -> its value, literals
  hardware: list[dict]  # a dict a start; [] = not recorded
  samples: list[tuple[int, pathlib.Path]]  # by step
  captions: list[str]  # of the samples, their rows; [] = not known
  checkpoints: list[int]  # steps
  remarks: list[str]  # what one should know, a line each

  def series(self, name: str) -> tuple[list[int], list[float]]:
    """(steps, values) of a scalar; of a step written twice the later one."""
    found = {
      row['step']: float(row[name]) if abs(row[name]) > _LEAST else 0.0
      for row in self.rows
      if isinstance(row.get(name), int | float) and abs(row[name]) <= _LARGEST
    }
    return list(found), list(found.values())

  def count(self, setting: str) -> int | None:
    """A setting that is a whole number above 0, or None."""
    value = self.settings.get(setting)
    return value if type(value) is int and 0 < value < 2**63 else None

  def names(self) -> list[str]:
    """The scalars that have values, in the order of their appearance."""
    names = dict.fromkeys(name for row in self.rows for name in row)
    return [n for n in names if n not in ('step', 'time') and self.series(n)[0]]

  @property
  def seconds(self) -> float:
    """Between the first report and the last, pauses included."""
    times = [r['time'] for r in self.rows if isinstance(r.get('time'), float)]
    times = [seconds for seconds in times if 0 <= seconds < 1e12]
    return max(times) - min(times) if times else 0.0


def read(workdir: str) -> Run:
  """Reads a work directory; raises ValueError with one line and the remedy."""
  path = pathlib.Path(workdir)
  if not path.is_dir():
    raise ValueError(
      f'--workdir={workdir} is no directory; give that of a training run'
    )
  if not (path / METRICS).is_file():
    raise ValueError(
      f'--workdir={workdir} has no {METRICS}; give the directory that a '
      'training run was given as its --workdir'
    )
  rows, broken = metrics.read(path / METRICS)
  if not rows:
    lines = f' ({broken:,} lines that are none)' if broken else ''
    raise ValueError(
      f'{path / METRICS} has no row yet{lines}; the run reports first after '
      'TrainConfig.log_every steps'
    )
  remarks = []
  if broken:
    lines = 'line was' if broken == 1 else 'lines were'
    remarks.append(
      f'{broken:,} {lines} skipped in {METRICS}: cut short or no rows'
    )
  config = _text(path / CONFIG)
  if not config:
    remarks.append(f'the run has no {CONFIG}: its settings are not known')
  stopped = _object(_text(path / interruptions.STOPPED_FILE))
  if stopped:
    remarks.append(
      f'ended by its gradients: {stopped.get("reason")}; rolled back to step '
      f'{stopped.get("rolled_back_to_step")}'
    )
  return Run(
    workdir=path,
    rows=sorted(rows, key=lambda row: row['step']),
    config=config,
    settings=literals(config),
    hardware=list(filter(None, map(_object, _lines(path / hardware.NAME)))),
    samples=_numbered(path.glob('samples/step_*.png'), r'step_(\d+)\.png'),
    captions=_captions(path / 'samples' / 'captions.json'),
    checkpoints=[n for n, _ in _numbered(path.glob('checkpoints/*'), r'(\d+)')],
    remarks=remarks,
  )


def literals(config: str) -> dict[str, object]:
  """'Class.field' -> value, of the settings of a gin file that are literals.

  As `gin.operative_config_str` writes them: a long value goes on in lines that
  are indented. References and macros are no literals and left out.
  """
  found = {}
  pattern = r'^(?:[\w/.]*[./])?(\w+\.\w+) = (.+)$'
  joined = re.sub(r'\\?\n[ \t]+', ' ', config)
  for name, value in re.findall(pattern, joined, re.MULTILINE):
    try:
      found[name] = ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
      continue  # the last two: nested too deep
  return found


def _numbered(paths, pattern):
  """[(number in the name, path)] of those that have one, rising."""
  matches = [(re.fullmatch(pattern, path.name), path) for path in paths]
  return sorted((int(found[1]), path) for found, path in matches if found)


def _lines(path):
  return _text(path).splitlines()


def _text(path):
  """A file's text; '' where it cannot be read or is no plain file."""
  try:
    return plain.read(path, _BYTES).decode(errors='replace')
  except OSError:
    return ''


def _captions(path):
  found = _json(_text(path))
  return list(map(str, found)) if isinstance(found, list) else []


def _object(text):
  """A JSON object, or None."""
  found = _json(text)
  return found if isinstance(found, dict) else None


def _json(text):
  """What a JSON text says, or None."""
  try:
    return json_files.parse(text, 'it')
  except ValueError:
    return None

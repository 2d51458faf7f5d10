"""What a work directory tells, and what is wrong with some."""

import json

import pytest

from imagen_jax.pages.run_report import runs
from tests.support import work


def test_reads_what_is_there(tmp_path):
  work.make(tmp_path)
  (tmp_path / 'checkpoints' / '80').mkdir(parents=True)
  (tmp_path / 'checkpoints' / '80.tmp').mkdir()
  (tmp_path / 'hardware.jsonl').write_text('{"device": "cpu"}\n{"dev')
  run = runs.read(str(tmp_path))
  assert run.settings['TrainConfig.steps'] == 100
  assert run.settings['UNetConfig.widths'] == (64, 128)
  assert 'TrainConfig.learning_rate' not in run.settings  # a reference
  steps, values = run.series('validation_loss')
  assert steps == [20, 40, 60, 80, 100] and len(values) == 5
  assert [step for step, _ in run.samples] == list(range(10, 101, 10))
  assert run.checkpoints == [80] and run.hardware == [{'device': 'cpu'}]
  assert run.captions == ['a <fox>', 'two keys'] and run.remarks == []
  assert run.seconds == 60 * 100  # from the validations' time


def test_a_step_written_twice_counts_once(tmp_path):
  (tmp_path / 'metrics.jsonl').write_text(
    '{"step": 4, "loss": 1.0}\n{"step": 2, "loss": 3}\n'
    '{"step": 4, "loss": 2.0}\n{"step": 6, "loss": null}\n'
  )
  assert runs.read(str(tmp_path)).series('loss') == ([2, 4], [3.0, 2.0])


def test_what_cannot_be_read_is_told(tmp_path):
  work.make(tmp_path, config='')
  with open(tmp_path / 'metrics.jsonl', 'a') as file:
    file.write('{"step": 102, "lo\n[]\n')
  stopped = {'reason': 'gradients', 'rolled_back_to_step': 80}
  (tmp_path / 'stopped.json').write_text(json.dumps(stopped))
  (tmp_path / 'samples' / 'captions.json').write_text('{')
  run = runs.read(str(tmp_path))
  assert run.captions == [] and run.settings == {}
  assert run.remarks == [
    '2 lines were skipped in metrics.jsonl: cut short or no rows',
    'the run has no config.gin: its settings are not known',
    'ended by its gradients: gradients; rolled back to step 80',
  ]


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    (None, 'has no metrics.jsonl; give the directory'),
    ('', 'has no row yet; the run reports first after'),
    ('{"st\n\nnothing\n', r'has no row yet \(2 lines that are none\)'),
  ],
)
def test_nothing_to_report(tmp_path, text, said):
  if text is not None:
    (tmp_path / 'metrics.jsonl').write_text(text)
  with pytest.raises(ValueError, match=said):
    runs.read(str(tmp_path))
  with pytest.raises(ValueError, match='nowhere is no directory'):
    runs.read('nowhere')

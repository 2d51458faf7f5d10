"""Pictures on the disk come back as they were; what is strange stays out."""

import os
import pathlib

import numpy as np
import pytest

from imagen_jax.files import pictures
from imagen_jax.pages.playground import drawing, folder, orders, writing
from tests.support import bombs, painting, tiny_cascade

FIELDS = {
  'seed': '7',
  'upto': '16',
  'steps_16': '4',
  'guidance_8': '2.25',
  'aug_level_16': '0.5',
  'sampler': 'heun',
  'eta': '0.5',
  'cap': 'off,2',
  'guidance_range': '-5:5',
  'negative': 'blue',
}


def drawn(out, *prompts, **fields):
  """The folder, and finished jobs whose pictures are in it."""
  kept, painter = folder.Folder(out), painting.Painter()
  painter.go(1000)
  with drawing.Studio(painter, store=kept.store) as studio:
    jobs = [studio.add(painting.order(prompt, **fields)) for prompt in prompts]
    painting.wait_for(lambda: studio.finished() == len(jobs))
  return kept, jobs


def test_the_history_comes_back(tmp_path):
  kept, jobs = drawn(tmp_path, painting.FOX, **FIELDS)
  cascade = tiny_cascade.load()
  (again,) = kept.read(cascade, 10)
  (job,) = jobs
  assert (again.state, again.png) == ('done', job.png)
  for name in ('prompt', 'seed', 'negative'):
    assert getattr(again.order, name) == getattr(job.order, name)
  assert writing.command(again.order, cascade, None) == writing.command(
    job.order, cascade, None
  )
  # The form filled in from it asks for the same.
  fields = {**again.order.fields, 'seed': '7'}
  asked = painting.order(**fields).plan
  assert orders.settings(cascade, asked) == orders.settings(
    cascade, job.order.plan
  )
  with drawing.Studio(painting.Painter(), history=[again]) as studio:
    assert studio.finished() == 1 and studio.since(-1)[2][0].id == again.id
    assert studio.small(again.id).startswith(b'\x89PNG')


def test_names_sort_by_time_and_never_clash(tmp_path, monkeypatch):
  times = iter(['20260101-000000'] * 2 + ['20260102-000000'])
  monkeypatch.setattr(folder.time, 'strftime', lambda _: next(times))
  kept, jobs = drawn(tmp_path, *['../../a fox / b'] * 3, seed='1')
  assert sorted(os.listdir(tmp_path)) == [
    '20260101-000000_a-fox-b_seed1.png',
    '20260101-000000_a-fox-b_seed1_2.png',
    '20260102-000000_a-fox-b_seed1.png',
  ]
  found = kept.read(tiny_cascade.load(), 2)  # the last ones
  assert [job.png for job in found] == [job.png for job in jobs[1:]]


def test_what_is_not_of_this_page_stays_out(tmp_path):
  kept, (job,) = drawn(tmp_path, painting.FOX)
  (path,) = tmp_path.iterdir()
  image, text = pictures.read_png(path)
  for number, changes in enumerate(
    (
      {'cascade': 'another'},
      {'index': '1'},
      {'steps': '0'},
      {'seed': 'x'},
      {'resolution': '9'},
    )
  ):
    pictures.write_png(tmp_path / f'{number}.png', image, text | changes)
  (tmp_path / '7.png').write_bytes(job.png[:100])
  (tmp_path / '8.png').mkdir()
  (tmp_path / '9.txt').write_text('hello')
  assert [j.png for j in kept.read(tiny_cascade.load(), 9)] == [job.png]


def test_what_cannot_be_shown_is_told_and_not_read(tmp_path, capsys):
  kept, (job,) = drawn(tmp_path, painting.FOX)
  (path,) = tmp_path.iterdir()
  _, text = pictures.read_png(path)
  large = np.zeros([4096, 8200, 3], np.uint8)  # with a recipe that is good
  pictures.write_png(tmp_path / '1.png', large, text)
  (tmp_path / '2.png').write_bytes(bombs.png(60_000, 60_000))
  (tmp_path / '3.png').write_bytes(bombs.with_text(job.png, 'x', 200))
  os.mkfifo(tmp_path / '4.png')
  (tmp_path / '5.png').symlink_to('/dev/zero')
  with open(tmp_path / '6.png', 'wb') as file:
    file.truncate(1 << 40)  # takes no room
  (tmp_path / '7.png').symlink_to(tmp_path / 'nowhere')
  capsys.readouterr()
  assert [j.png for j in kept.read(tiny_cascade.load(), 9)] == [job.png]
  (note,) = capsys.readouterr().err.splitlines()
  assert note.startswith(f'note: passed over in {tmp_path}: ')
  assert 'no pictures to show' in note


def test_a_file_that_was_altered_has_no_small_picture(tmp_path):
  kept, _ = drawn(tmp_path, painting.FOX)
  (again,) = kept.read(tiny_cascade.load(), 9)
  again.png = again.png[: len(again.png) // 2]
  with drawing.Studio(painting.Painter(), history=[again]) as studio:
    assert studio.small(again.id) is None


def test_a_changed_picture_says_that_its_source_is_gone(tmp_path):
  kept, (job,) = drawn(tmp_path, painting.FOX)
  image, text = pictures.read_png(next(tmp_path.iterdir()))
  text['edit'] = 'from 0123456789abcdef, strength 0.5, resamples 1'
  pictures.write_png(tmp_path / '9.png', np.zeros_like(image), text)
  changed = kept.read(tiny_cascade.load(), 1)[0]
  for write in (writing.command, writing.python):
    said = write(changed.order, tiny_cascade.load(), None)
    assert said.startswith('# Made of another picture (from 0123456789abcdef')


def test_a_folder_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='cannot be written: .*; give another'):
    folder.Folder(tmp_path / 'file')
  kept, (job,) = drawn(tmp_path / 'a', painting.FOX)
  kept.path = pathlib.Path('/proc/nowhere')
  with pytest.raises(ValueError, match='the picture is not in /proc/nowhere'):
    kept.store(job)

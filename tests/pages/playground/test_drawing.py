"""The queue and its one thread."""

import threading
import time

import pytest

from imagen_jax.pages.playground import drawing
from tests.support import painting


@pytest.fixture
def painter():
  return painting.Painter()


@pytest.fixture
def studio(painter):
  with drawing.Studio(painter, waiting=2, kept=3) as studio:
    yield studio
    for job in studio.since(-1)[2]:
      studio.stop(job.id)
    painter.go(1000)


def drawing_now(studio, job):
  return painting.wait_for(lambda: studio.get(job.id).state == 'drawing')


def ended(studio, job):
  over = ('done', 'stopped', 'failed')
  painting.wait_for(lambda: studio.get(job.id).state in over)
  return studio.get(job.id)


def test_one_after_the_other_in_one_thread(studio, painter):
  jobs = []
  for prompt in painting.tiny_cascade.CAPTIONS:
    jobs.append(studio.add(painting.order(prompt)))
    if len(jobs) == 1:
      drawing_now(studio, jobs[0])
  assert [job.state for job in jobs] == ['drawing', 'waiting', 'waiting']
  painter.go(3 * painting.STEPS)
  assert [ended(studio, job).state for job in jobs] == ['done'] * 3
  assert painter.drawn == list(painting.tiny_cascade.CAPTIONS)
  assert len(painter.threads) == 1
  assert threading.get_ident() not in painter.threads


def test_previews_come_stage_by_stage(studio, painter):
  job = studio.add(painting.order())
  painter.go(2)  # before the first step, and the first
  painting.wait_for(lambda: studio.get(job.id).step == 1)
  painting.wait_for(lambda: 8 in studio.get(job.id).seen)
  first = studio.look(job.id, 8)
  assert first.startswith(b'\x89PNG') and studio.look(job.id, 16) is None
  painter.go(1)
  painting.wait_for(lambda: studio.look(job.id, 8) != first)
  painter.go(3 + 1 + 1)
  painting.wait_for(lambda: 16 in studio.get(job.id).seen)
  found = studio.get(job.id)
  assert (found.state, found.stage, found.step, found.steps) == (
    'drawing', 1, 1, 3,
  )  # fmt: skip
  assert not found.png
  painter.go(100)
  assert ended(studio, job).png and sorted(found.seen) == [8, 16, 32]


def test_a_full_queue_takes_no_more(studio, painter):
  first = studio.add(painting.order())
  drawing_now(studio, first)
  second, _ = (studio.add(painting.order()) for _ in range(2))
  with pytest.raises(drawing.Full, match='2 pictures wait already'):
    studio.add(painting.order())
  assert studio.stop(second.id)
  studio.add(painting.order(painting.KEYS))  # there is room again


def test_stopping(studio, painter):
  first = studio.add(painting.order())
  drawing_now(studio, first)
  second = studio.add(painting.order(painting.KEYS))
  third = studio.add(painting.order(painting.CAR))
  assert studio.stop(second.id) and second.state == 'stopped'
  assert studio.stop(first.id) and first.state == 'drawing'
  painter.go(1)  # to where it can be stopped
  assert ended(studio, first).state == 'stopped' and not first.png
  painter.go(100)
  assert ended(studio, third).state == 'done'
  assert painter.drawn == [painting.FOX, painting.CAR]
  assert studio.stop(third.id) and third.state == 'done'
  assert not studio.stop('no-such-job')


@pytest.mark.parametrize(
  ('prompt', 'said'),
  [
    ('spoilt', 'stage tiny_8 drew what is not finite'),
    ('broken', 'RuntimeError, see where the server was started'),
  ],
)
def test_one_failure_is_told_and_the_next_is_drawn(
  prompt, said, studio, painter, capsys
):
  painter.go(100)
  bad, good = studio.add(painting.order(prompt)), studio.add(painting.order())
  assert (ended(studio, bad).state, bad.said) == ('failed', said)
  assert ended(studio, good).state == 'done'
  assert ('by intent' in capsys.readouterr().err) == (prompt == 'broken')


def test_the_oldest_leave_the_history(studio, painter):
  painter.go(1000)
  jobs = []
  for _ in range(5):
    jobs.append(studio.add(painting.order()))
    ended(studio, jobs[-1])
  painting.wait_for(lambda: studio.get(jobs[1].id) is None)
  assert [studio.get(job.id) is None for job in jobs] == [True] * 2 + [
    False
  ] * 3
  assert studio.forget(jobs[3].id) and not studio.forget(jobs[3].id)
  assert studio.since(0)[1] == [jobs[2].id, jobs[4].id]


def test_what_is_drawn_is_not_forgotten(studio, painter):
  job = studio.add(painting.order())
  assert not studio.forget(job.id) and studio.get(job.id) is job


def test_news_come_when_there_are_some(studio, painter):
  number, ids, news = studio.since(-1)
  assert (ids, news) == ([], [])
  found = []
  waiting = threading.Thread(
    target=lambda: found.append(studio.since(number, 20))
  )
  waiting.start()
  job = studio.add(painting.order())
  waiting.join(10)
  assert found[0][0] > number and found[0][1] == [job.id]
  painter.go(100)
  ended(studio, job)
  number, _, news = studio.since(number)
  assert [j.state for j in news] == ['done']
  before = time.monotonic()
  assert studio.since(number, 0.2)[2] == []
  assert time.monotonic() - before > 0.15


def test_closing_stops_what_is_drawn(painter):
  studio = drawing.Studio(painter)
  with studio:
    job = studio.add(painting.order())
    drawing_now(studio, job)
    assert not studio.close(0.05)  # it is within a step
    painter.go(1)
    assert studio.close(10)
  assert job.state == 'stopped'


def test_what_cannot_be_stored_is_said_with_the_picture(painter, capsys):
  def store(job):
    raise ValueError('the disk is full')

  painter.go(100)
  with drawing.Studio(painter, store=store) as studio:
    job = studio.add(painting.order())
    assert ended(studio, job).state == 'done'
  assert job.remarks == ('the disk is full',) and job.png
  assert capsys.readouterr().err == 'error: the disk is full\n'

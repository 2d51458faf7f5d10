"""Facts about what an evaluation asks."""

import collections

import pytest

from imagen_jax.data.emoji_scenes import prompts, splits
from imagen_jax.evaluation.scenes import questions


def test_any_first_prompts_are_spread_over_the_categories():
  few = questions.examples('prompts', 'lite', 20)
  assert set(collections.Counter(e.kind for e in few).values()) == {2}
  every = questions.examples('prompts', 'lite', 500)
  assert sorted(e.index for e in every) == list(range(200))
  assert every[:20] == few
  for e in every:
    prompt = prompts.load('lite')[e.index]
    assert (e.caption, *e.kind) == (
      prompt.caption,
      prompt.category,
      prompt.difficulty,
    )


def test_a_caption_met_again_asks_for_another_picture():
  asked = questions.examples('test_count', 'lite', 120)
  pairs = [(e.caption, e.repeat) for e in asked]
  assert len(set(pairs)) == len(pairs)
  assert questions.examples('test_count', 'lite', 30) == asked[:30]


def test_the_vocabulary_is_the_larger_one_that_the_cascade_claims():
  words = {}
  for name, vocabulary in splits.VOCABULARIES.items():
    phrases = vocabulary.nouns + vocabulary.colours
    words[name] = {w for phrase in phrases for w in phrase.split()}
  assert questions.claimed(words['lite']) == 'lite'
  assert questions.claimed(words['lite'] | words['full']) == 'full'
  for too_few in (None, words['lite'] - {'fox'}):
    with pytest.raises(ValueError, match='--vocabulary'):
      questions.claimed(too_few)


def test_prompts_are_broken_down_by_kind():
  asked = questions.examples('prompts', 'lite', 20)
  rows = dict(questions.breakdown('prompts', asked, list(asked)))
  assert len(rows) == 1 + 2 + 5 and len(rows['prompts']) == 20
  assert {e.kind[1] for e in rows['prompts/easy']} == {'easy'}
  assert len(rows['prompts/counting']) == 4

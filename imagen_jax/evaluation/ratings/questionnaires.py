"""What raters are asked; section 4.3 and appendix C (COCO, DrawBench).

An answer is 'a', 'b', 'none' (no preference), 'yes', 'somewhat' or 'no'. On
the page the first two are left and right, as the sides fell for the rater.
"""

import dataclasses

SIDES = ('a', 'none', 'b')
PERSON = frozenset(
  'man men woman women person persons people child children adult adults boy '
  'boys girl girls guy guys lady ladies someone player players worker workers '
  'spectator spectators'.split()
)  # the paper's 21 words, and those of their plurals that it leaves out


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
  """One question, in plain words."""

  name: str  # in the database
  text: str
  answers: tuple[str, ...]
  labels: tuple[str, ...]  # on the page; ('a', 'b') sides: left, right


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
  """How a study is run. Its name and version are in every result."""

  name: str
  version: int
  questions: tuple[Question, ...]
  sets: bool = False  # all pictures of a prompt at once, not one by one
  single: bool = False  # one picture at a time, not two
  photographs: bool = False  # B are real
  caption: bool = True  # is shown
  num: int | None = None  # pairs drawn at random; None = all
  batch: int | None = None  # pairs that a rater is asked for; None = all
  by_category: bool = False  # a batch is a category
  controls: int = 0  # in a batch, beside its pairs
  pass_share: float = 0.0  # of controls right, for a rater to count


_QUALITY = Question(
  name='quality',
  text='Which is the better picture?',
  answers=SIDES,
  labels=('Left', 'No preference', 'Right'),
)
_CAPTION = Question(
  name='caption',
  text='Which fits the caption better?',
  answers=SIDES,
  labels=('Left', 'No preference', 'Right'),
)
_REAL = Question(
  name='real',
  text='Which looks more like a real photograph?',
  answers=('a', 'b'),
  labels=('Left', 'Right'),
)
_FITS = Question(
  name='fits',
  text='Does the caption say what the picture shows?',
  answers=('yes', 'somewhat', 'no'),
  labels=('Yes', 'Somewhat', 'No'),
)
FITS = {'yes': 100.0, 'somewhat': 50.0, 'no': 0.0}  # section 4.2

PROTOCOLS = {
  p.name: p
  for p in (
    # Ours: picture against picture. Every rater is asked for all of them.
    Protocol(name='pairs', version=1, questions=(_QUALITY, _CAPTION)),
    # Sets of samples (8 in the paper), a category a rater, nobody left out.
    Protocol(
      name='drawbench',
      version=1,
      questions=(
        dataclasses.replace(_QUALITY, text='Which side has better pictures?'),
        dataclasses.replace(_CAPTION, text='Which side fits the caption more?'),
      ),
      sets=True,
      by_category=True,
    ),
    # 200 random pairs in batches of 50; who gets 80% of the controls right
    # counts. How many controls the paper does not say; ours are 5 in a batch.
    Protocol(
      name='coco_quality',
      version=1,
      questions=(_REAL,),
      photographs=True,
      caption=False,
      num=200,
      batch=50,
      controls=5,
      pass_share=0.8,
    ),
    Protocol(
      name='coco_alignment',
      version=1,
      questions=(_FITS,),
      single=True,
      photographs=True,
      num=200,
      batch=50,
      controls=6,
      pass_share=0.8,
    ),
  )
}

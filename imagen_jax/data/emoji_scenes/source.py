"""The data set as a source addressed by index: no build step, no TensorFlow.

  EmojiScenes(split='train', vocabulary='lite').example(7, 64)
    -> {'image': uint8 [64, 64, 3], 'caption': str, 'scene': dict, 'id': str}

Example i depends on (version, vocabulary, split, i) alone. `train` is endless;
the other splits have a length.
"""

import dataclasses

from imagen_jax.data.emoji_scenes import (
  drawing,
  grammar,
  prompts,
  readable,
  scenes,
  splits,
)

# Attempts at one index. The rarest split, test_both, needs some 60 on
# average; a failure in 10,000 means that the vocabulary holds no such scene.
_ATTEMPTS = 10_000


@dataclasses.dataclass(frozen=True)
class EmojiScenes:
  """Scenes, captions and pictures of one split and vocabulary."""

  split: str = 'train'
  vocabulary: str = 'lite'
  paraphrase: bool = False  # captions in the held-out wordings

  def __post_init__(self):
    splits.vocabulary(self.vocabulary)
    if self.split not in splits.SIZES:
      raise ValueError(
        f'unknown split {self.split!r}: choose one of {tuple(splits.SIZES)}'
      )

  def __len__(self) -> int:
    size = splits.SIZES[self.split]
    if size is None:
      raise TypeError(f'split {self.split!r} is endless: ask for any index')
    return size

  def scene(self, index: int) -> scenes.Scene:
    """Returns scene `index`: the first attempt that belongs to the split."""
    self._check(index)
    if self.split == 'prompts':
      return prompts.load(self.vocabulary)[index].scene
    words = splits.VOCABULARIES[self.vocabulary]
    stream = f'scene/{self.vocabulary}/{self.split}'
    for attempt in range(_ATTEMPTS):
      scene = scenes.generate(words, scenes.Draws(stream, index, attempt))
      if splits.belongs(scene, self.split, self.vocabulary):
        if readable.readable(scene, self.vocabulary):
          return scene
    raise RuntimeError(
      f'no scene for index {index} of {self.vocabulary}/{self.split} in '
      f'{_ATTEMPTS} attempts: the vocabulary is too small for this split'
    )

  def caption(self, index: int) -> str:
    """Returns the caption of scene `index`."""
    return self._caption(index, self.scene(index))

  def example(
    self,
    index: int,
    resolution: int,
    crop: tuple[int, int, int, int] | None = None,
  ) -> dict:
    """Returns the picture (uint8 [h, w, 3]), caption, scene and identity.

    `crop` is (top, left, height, width) in pixels of that resolution.
    """
    scene = self.scene(index)
    return {
      'image': drawing.draw(scene, resolution, crop),
      'caption': self._caption(index, scene),
      'scene': scenes.to_json(scene),
      'id': f'{self.vocabulary}/{self.split}/{index}',
    }

  def _caption(self, index, scene):
    if self.split == 'prompts' and not self.paraphrase:
      return prompts.load(self.vocabulary)[index].caption
    words = grammar.HELD_OUT if self.paraphrase else grammar.TRAIN
    stream = f'caption/{self.vocabulary}/{self.split}'
    return grammar.caption(scene, scenes.Draws(stream, index), words)

  def _check(self, index):
    size = splits.SIZES[self.split]
    if index < 0 or (size is not None and index >= size):
      raise IndexError(
        f'index {index} is outside {self.vocabulary}/{self.split}, which '
        f'holds {"0 and up" if size is None else f"0 to {size - 1}"}'
      )

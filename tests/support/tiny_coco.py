"""COCO's validation set of 2014 in small: its layout, a few photographs."""

import json

import numpy as np
import PIL.Image

CAPTIONS = (
  'a red fox at sunset',
  'two pink keys under a night sky',
  'a blue car to the left of a yellow star',
)


def directory(where, photographs=6, folder='val2014'):
  """Makes it at `where`: two captions a photograph, of other sizes each."""
  rng, images, annotations = np.random.default_rng(0), [], []
  (where / folder).mkdir(parents=True)
  (where / 'annotations').mkdir()
  for n in range(photographs):
    image = rng.integers(0, 256, (20 + n, 40 - n, 3), np.uint8)
    name = f'COCO_val2014_{7 * n + 42:012d}.jpg'
    PIL.Image.fromarray(image).save(where / folder / name)
    images.append({'id': 7 * n + 42, 'file_name': name})
    for extra in range(2):
      caption = CAPTIONS[(n + extra) % len(CAPTIONS)]
      annotations.append(
        {
          'id': 1000 - 10 * n + extra,
          'image_id': 7 * n + 42,
          'caption': f' {caption}\n',
        }
      )
  content = {'images': images, 'annotations': annotations}
  path = where / 'annotations' / 'captions_val2014.json'
  path.write_text(json.dumps(content))
  return where

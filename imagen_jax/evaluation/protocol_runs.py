"""Runs a protocol: draws its captions, measures the pictures, keeps the score.

  run(protocol, cascade, options, DIR) -> (result, text), or None where
                                          pictures of other hosts are missing

DIR/images/000/000123.png   the pictures, never drawn twice
DIR/images.npz, reference.npz, pictures.jsonl   what was measured of them
DIR/scores.json             scores, protocol and protocol id
"""

import pathlib

from imagen_jax.data import coco as coco_lib
from imagen_jax.data.emoji_scenes import checker, drawing, source
from imagen_jax.evaluation import (
  clip_score,
  inception_features,
  options,
  picture_files,
  picture_sets,
  protocols,
  records,
)
from imagen_jax.evaluation import fid as distances
from imagen_jax.evaluation.scenes import judge as judge_lib
from imagen_jax.evaluation.scenes import questions, scene_scores
from imagen_jax.files import weights
from imagen_jax.sampling import series

SCORES = 'scores.json'
RECORDS = 'pictures.jsonl'
_TFDS = 'tfds:'


def run(protocol, cascade, given: options.Options, out: pathlib.Path):
  """Draws and measures: (result, text to print); None where some are missing.

  Args:
    protocol: a `protocols.Protocol`, with its changes.
    cascade: a `cascade.Cascade`.
    given: a `options.Options`.
    out: directory; the same one goes on where it was interrupted.
  """
  plan = protocol.plan(cascade)
  kind = Coco if protocol.data == 'coco' else Scenes
  work = kind(protocol, cascade, given, out)
  records.claim(out, {'cascade': cascade.id, **work.settings()})
  images = out / 'images'
  series.draw(
    cascade,
    plan,
    work.items,
    images,
    seed=protocol.seed,
    host=given.host,
    hosts=given.hosts,
    title=protocol.name,
  )
  if missing := series.absent(work.items, images):
    return None, (
      f'host {given.host} of {given.hosts} is done; {missing:,} of '
      f'{len(work.items):,} pictures are missing in {images}: when all hosts '
      'are done, run the command once more'
    )
  found, text = work.measure([images / item.path for item in work.items])
  weights.save_json(out / SCORES, found)
  return found, text


class Coco:
  """FID, KID and CLIP score on COCO's validation set (section 5.2)."""

  def __init__(self, protocol, cascade, given, out):
    self.protocol, self._id, self._given = protocol, cascade.id, given
    self._out = out
    self._extractor, self._clip = self._networks()
    self._coco = self._read()
    if not given.partial:
      self._coco.check_whole()
    by_id = {caption.id: caption for caption in self._coco.captions}
    ids = protocols.ranked(list(by_id), protocol.caption_seed)
    if len(ids) < protocol.num:
      raise ValueError(
        f'{self._coco.root} has {len(ids):,} captions, {protocol.name} draws '
        f'{protocol.num:,}; give --num={len(ids)} or the whole set'
      )
    self._captions = [by_id[number] for number in ids[: protocol.num]]
    self.items = series.listed([c.text for c in self._captions])
    if self._extractor:
      self._check_counts()
      self._check_reference()

  def _networks(self):
    """(extractor or None, clip or None), as far as there are weights."""
    given = self._given
    path = given.inception or options.INCEPTION
    here = pathlib.Path(path).is_file()
    if given.inception is None and not here and given.clip:
      extractor = None  # a CLIP score alone
    else:
      extractor = inception_features.load(
        path, resize=self.protocol.resize, layer=self.protocol.features
      )
    return extractor, clip_score.load(given.clip) if given.clip else None

  def _read(self):
    given = self._given.coco
    if given is None:
      raise ValueError(
        f'{self.protocol.name} needs --coco=DIR with val2014, or '
        '--coco=tfds:coco_captions; --protocol=scenes needs nothing'
      )
    if given.startswith(_TFDS):
      name = given.removeprefix(_TFDS)
      given = coco_lib.from_tfds(name, None, self._out / 'coco')
    return coco_lib.read(given)

  def _check_counts(self):
    least = self._given.minimum or self._extractor.width + 1
    for name, count in (
      (self.protocol.title, self.protocol.num),
      (f'{self._coco.root}', len(self._coco.photographs)),
    ):
      distances.check_count(name, count, least, self._extractor.width)

  def _check_reference(self):
    """Before anything is drawn."""
    given = self._given.reference
    if given is None:
      return
    crop = self.protocol.crop
    reference = picture_sets.opened(given, self._extractor, crop)
    picture_sets.check_protocol(reference, self._extractor, crop)
    if reference.count != len(self._coco.photographs):
      raise ValueError(
        f'{given} is of {reference.count:,} pictures, {self._coco.root} has '
        f'{len(self._coco.photographs):,}; give the reference of this set, or '
        'leave it out'
      )

  def settings(self):
    """What the pictures depend on, besides the cascade."""
    return {
      'protocol': self.protocol.describe(),
      'captions': self._fingerprint(),
    }

  def _fingerprint(self):
    return protocols.fingerprint(
      [[c.id, c.image, c.text] for c in self._captions]
    )

  def measure(self, paths):
    """(result, text) of the pictures."""
    found = {'caption_ids': self._fingerprint()}
    scores, more, lines = {}, {}, []
    if self._extractor:
      distance, reference = self._distance(paths)
      scores |= {'fid': distance['fid'], 'kid': distance['kid']}
      found |= {
        'network': self._extractor.network,
        'reference_pictures': reference.pictures,
        'reference_num': reference.count,
      }
      more['distance'] = distance
      lines.append(
        f'FID         {distance["fid"]:z.4f}\n'
        f'KID         {distance["kid"]:z.6f} +- {distance["kid_deviation"]:.6f}'
      )
    if self._clip:
      clip = self._clip_score(paths)
      scores |= {'clip_score': clip['clip_score'], 'cosine': clip['cosine']}
      more['clip'] = clip
      lines.append(
        f'CLIP score  {clip["clip_score"]:.2f} +- '
        f'{clip["standard_error"]:.2f} ({clip["model"]}, sha256 '
        f'{clip["sha256"][:12]}; mean cosine {clip["cosine"]:.4f})'
      )
    result = protocols.result(
      self.protocol.title,
      self.protocol.describe(**found),
      self._id,
      scores,
      n=len(paths),
      **more,
    )
    count = f'{result["protocol"].get("reference_num"):,} photographs'
    if not self._extractor:
      count = 'no photographs: without weights of Inception there is no FID'
    lines.append(_told(result, count))
    return result, '\n'.join(lines)

  def _distance(self, paths):
    crop = self.protocol.crop
    reference = picture_sets.opened(
      self._given.reference or str(self._coco.root),
      self._extractor,
      crop,
      None if self._given.reference else list(self._coco.photographs),
    )
    root = str(self._out / 'images')
    images = picture_sets.opened(root, self._extractor, crop, paths)
    picture_sets.agree(images, reference)
    a, b = (
      picture_sets.measure(side, self._extractor, self._out / f'{name}.npz')
      for name, side in (('images', images), ('reference', reference))
    )
    return picture_sets.distance(a, b, self.protocol.kid_seed), reference

  def _clip_score(self, paths):
    """Cosines are kept; those on record are not measured again."""
    clip, path = self._clip, self._out / RECORDS
    kept = records.read(path)
    done = {n: r for n, r in kept.items() if r.get('clip') == clip.sha256}
    missing = [n for n in range(len(paths)) if n not in done]

    def load(number):
      return clip.prepare(picture_files.read(paths[number]))

    for numbers, prepared in picture_files.in_batches(
      load, missing, clip.batch
    ):
      captions = [self._captions[n].text for n in numbers]
      for number, cosine in zip(numbers, clip.cosines(captions, prepared)):
        done[number] = {
          'index': number,
          'clip': clip.sha256,
          'cosine': float(cosine),
        }
        records.append(path, done[number])
    cosines = [done[n]['cosine'] for n in range(len(paths))]
    return {
      **clip_score.summary(cosines),
      'model': clip.name,
      'sha256': clip.sha256,
    }


class Scenes:
  """Alignment by two judges, and scene-FID, on the embedded data set."""

  def __init__(self, protocol, cascade, given, out):
    self.protocol, self._id, self._given = protocol, cascade.id, given
    self._out = out
    _, self._vocabulary, split = protocol.captions.split()
    self._judge = judge_lib.load(given.judge)
    if self._judge.vocabulary != self._vocabulary:
      raise ValueError(
        f'the judge was trained on {self._judge.vocabulary}, {protocol.name} '
        f'has captions of {self._vocabulary}; give another --judge'
      )
    self._examples = questions.examples(split, self._vocabulary, protocol.num)
    if len(self._examples) < protocol.num:
      raise ValueError(
        f'{split} holds {len(self._examples):,} captions, not '
        f'{protocol.num:,}; give a smaller --num'
      )
    self.items = series.listed([e.caption for e in self._examples])
    least = given.minimum or self._judge.width + 1
    distances.check_count(
      protocol.title, protocol.num, least, self._judge.width
    )
    self._reference = self._read_reference()
    picture_sets.check_protocol(self._reference, self._judge, None)

  def settings(self):
    """What the pictures depend on, besides the cascade."""
    return {'protocol': self.protocol.describe()}

  def measure(self, paths):
    """(result, text) of the pictures."""
    judged = scene_scores.judge_pictures(
      self._judge,
      [e.scene for e in self._examples],
      paths,
      self._vocabulary,
      self._out / RECORDS,
    )
    reference = self._reference
    images = picture_sets.opened(
      str(self._out / 'images'), self._judge, None, list(paths)
    )
    picture_sets.agree(images, reference)
    stored = picture_sets.measure(
      reference, self._judge, self._out / 'reference.npz'
    )
    distance = picture_sets.distance(
      picture_sets.measure(images, self._judge, self._out / 'images.npz'),
      stored,
      self.protocol.kid_seed,
    )
    # What the data set's own drawings of these captions get: the least.
    own = scene_scores.drawn_side(
      [e.scene for e in self._examples], images.protocol
    )
    floor = picture_sets.distance(
      picture_sets.measure(own, self._judge, self._out / 'own.npz'), stored
    )
    result = protocols.result(
      self.protocol.title,
      self.protocol.describe(
        caption_ids=protocols.fingerprint(
          [[e.index, e.caption] for e in self._examples]
        ),
        network=self._judge.sha256,
        checker=checker.VERSION,
        reference_pictures=reference.pictures,
      ),
      self._id,
      scene_scores.numbers(judged, distance),
      n=len(paths),
      distance=distance,
      drawings=floor,
      **scene_scores.details(judged),
    )
    count = f'{reference.count:,} drawings of the data set'
    return result, '\n'.join([scene_scores.text(result), _told(result, count)])

  def _read_reference(self):
    if self._given.reference:
      return picture_sets.known(self._given.reference)
    side = self.protocol.resolutions[-1]
    _, vocabulary, split = self.protocol.reference.split()
    data = source.EmojiScenes(split, vocabulary)
    num = self.protocol.reference_num
    return picture_sets.Side(
      source=self.protocol.reference,
      items=range(num),
      load=lambda i: drawing.draw(data.scene(i), side),
      count=num,
      pictures=f'{self.protocol.reference}, the first {num}',
      protocol={**self._judge.about(), 'crop': None, 'size': [side, side]},
    )


def _told(result, count) -> str:
  """Protocol and cascade, the last lines."""
  what = result['protocol']
  steps = ', '.join(
    f'{s["resolution"]} px {s["sampler"]} {s["steps"]} steps w '
    f'{s["guidance"]:g} aug {s["aug_level"]:g} {s["threshold"]}'
    for s in what['stages']
  )
  return (
    f'n           {result["n"]:,} against {count}\n'
    f'drawn by    {steps}; seed {what["seed"]}\n'
    f'cascade     {result["cascade"]}\n'
    f'protocol    {result["protocol_id"]} ({result["title"]})'
  )

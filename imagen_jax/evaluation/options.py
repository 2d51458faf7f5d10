"""The flags of `evaluate --protocol`, and what they may not be given with."""

import dataclasses

from imagen_jax.config import flags
from imagen_jax.evaluation import protocols

INCEPTION = 'inception.safetensors'  # taken if it is there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """What a protocol leaves to the user."""

  coco: str | None = None  # directory, or tfds:NAME
  reference: str | None = None  # .npz of an earlier run; None = measure it
  inception: str | None = None  # weights
  clip: str | None = None  # directory of a model
  judge: str | None = None  # directory; None = the one that ships
  partial: bool = False  # takes a part of COCO
  minimum: int | None = None  # pictures of a side; None = features + 1
  host: int = 0
  hosts: int = 1


def add_flags(parser) -> None:
  """The flags of `Options`, and of the protocol itself."""
  add = parser.add_argument
  add(
    '--protocol',
    choices=tuple(protocols.PROTOCOLS),
    help='measures by a frozen description instead of a split; the flags '
    'above change it, and its id with it (default: none)',
  )
  add(
    '--coco',
    metavar='DIR|tfds:NAME',
    help='COCO with annotations/captions_val2014.json and val2014/, or a '
    'prepared TFDS set, tfds:coco_captions (default: none; needed by coco30k '
    'and coco10k)',
  )
  add(
    '--inception',
    metavar='FILE',
    help='weights for FID, see imagen_jax.convert_inception (default: '
    f'{INCEPTION} if it is there)',
  )
  add(
    '--clip',
    metavar='DIR',
    help='a CLIP model for the CLIP score, see imagen_jax.clip_score '
    '(default: none, no such score)',
  )
  add(
    '--judge',
    metavar='DIR',
    help='of the scenes, see imagen_jax.train_judge (default: the one that '
    'ships)',
  )
  add(
    '--reference',
    metavar='FILE',
    help="reference.npz of an earlier run's directory (default: it is "
    'measured)',
  )
  add(
    '--partial',
    action='store_true',
    help='takes a part of COCO: a score of its own protocol (default: no)',
  )
  add(
    '--minimum',
    type=flags.whole('pictures', 2, 10**9),
    metavar='N',
    help='pictures below which no distance is measured (default: one more '
    'than features)',
  )
  add(
    '--hosts',
    type=flags.whole('hosts', 1, 100_000),
    default=1,
    metavar='N',
    help='machines that share the drawing (default: 1)',
  )
  add(
    '--host',
    type=flags.whole('host', 0, 99_999),
    default=0,
    metavar='N',
    help='number of this one, from 0 (default: 0)',
  )


def options(args) -> Options:
  """The `Options` of a command line."""
  names = [field.name for field in dataclasses.fields(Options)]
  return Options(**{name: getattr(args, name) for name in names})


def check_flags(args) -> None:
  """Raises ValueError for flags that need --protocol, or rule it out."""
  default = Options()
  given = [
    field.name
    for field in dataclasses.fields(Options)
    if getattr(args, field.name) != getattr(default, field.name)
  ]
  if args.protocol is None:
    if given:
      raise ValueError(f'--{given[0]} is of --protocol; give one, or leave it')
    return
  for name in ('split', 'vocabulary', 'paraphrase'):
    if getattr(args, name):
      raise ValueError(
        f'--{name} and --protocol={args.protocol}: a protocol has its own '
        'captions; leave one of the two'
      )
  for name in protocols.OF_STAGE:
    if getattr(args, name, None) is not None:
      raise ValueError(
        f'--{name} and --protocol={args.protocol}: in a protocol {name} is '
        "the stages' own; leave one of the two"
      )
  wanted = protocols.PROTOCOLS[args.protocol].data
  for name, data in (
    ('coco', 'coco'),
    ('inception', 'coco'),
    ('clip', 'coco'),
    ('partial', 'coco'),
    ('judge', 'scenes'),
  ):
    if name in given and data != wanted:
      raise ValueError(
        f'--{name} is of the {data} protocols, not of {args.protocol}'
      )
  if args.host >= args.hosts:
    raise ValueError(
      f'--host={args.host} of --hosts={args.hosts}: give a host from 0 to '
      f'{args.hosts - 1}'
    )

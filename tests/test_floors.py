"""The import floors: who may import what, read from the syntax trees.

A module imports only from lower floors, or from its own folder. Libraries
that are heavy, optional or tied to one job have a place each. Nothing is
imported here; the files are parsed.
"""

import ast
import dataclasses
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'imagen_jax'

# Folder or module -> floor. A new module of the root needs a line here.
FLOORS = {
  'diffusion': 0,
  'fields': 0,  # types of the configurations' values
  'models': 1,
  'compilation_cache': 1,
  'xla_options': 1,  # of the train step on a CPU
  'partitioning': 1,
  'flags': 1,  # of the command lines
  'weights': 1,  # safetensors files
  'manifests': 1,  # checksums of directories
  'pictures': 1,  # PNG files
  'packing': 1,  # of them, into tar files
  'pages': 1,  # in a browser, and their server
  'plots': 1,  # curves
  'charts': 1,  # in pages
  'accelerators': 1,  # what chips can do
  'spreading': 1,  # pictures over devices
  'hosts': 1,  # the processes of one job
  'coordinator': 1,  # of them
  'exchanges': 1,  # between them
  'roll_call': 1,
  'presence': 1,  # of the processes, when one is lost
  'retrying': 1,  # what a disk refused
  'text': 2,
  'data': 2,
  'training': 2,
  'planning': 2,
  'stages': 2,
  'chains': 2,  # of stages
  'presets': 2,  # settings of all stages by name
  'prompts': 2,  # of users, in files
  'pretraining': 3,
  'reporting': 3,
  'evaluation': 3,
  'serving': 3,  # of a page to draw on
  'pretrained': 3,
  'stage_sampler': 3,
  'stage_programs': 3,
  'sampler_shapes': 3,
  'sample_flags': 3,
  'interpolation': 3,  # between captions
  'previews': 3,
  'cascade': 3,
  'composition': 3,  # of denoiser, guidance, thresholding
  'edits': 3,  # of pictures
  'gallery': 3,  # pictures written as files
  'series': 3,  # long lists of pictures
  'protocol_flags': 3,
  'protocol_runs': 3,  # of an evaluation
  'recipes': 3,  # of pictures, in their metadata
  'jobs': 3,  # of training
  'inputs': 3,  # of them
  'small_runs': 3,  # of training without it
  'plan': 4,
  'train': 4,
  'sample': 4,
  'pretrain_text': 4,
  'train_judge': 4,
  'drawbench': 4,
  'guidance_curve': 4,
  'bind': 4,
  'embed': 4,
  'evaluate': 4,
  'rate': 4,
  'serve': 4,
  'sweep': 4,
  'fid': 4,
  'clip_score': 4,
  'convert_inception': 4,
  'data_report': 4,
  'report': 4,
  'build_tfds': 4,
  'cli': 4,
}
ENTRY = 4

# On one floor, across folders: who may import whom.
SAME_FLOOR = {
  ('training', 'stages'),
  ('diffusion', 'fields'),
  ('serving', 'cascade'),
  ('serving', 'edits'),
  ('serving', 'recipes'),
  ('protocol_runs', 'evaluation'),
  ('protocol_flags', 'evaluation'),
}

# What setup.py installs always, by import name. ml_dtypes comes with jax.
CORE = {
  'jax', 'flax', 'optax', 'orbax', 'numpy', 'PIL', 'gin', 'absl',
  'sentencepiece', 'safetensors', 'msgpack', 'tensorstore', 'tqdm',
  'ml_dtypes', 'array_record',
}  # fmt: skip

# Library -> the only places (prefixes of module names) that may import it.
PLACES = {
  'flax.linen': ['models.'],
  'jax._src': ['coordinator', 'hosts'],  # what JAX does not offer
  'optax': ['training.'],
  'orbax': ['training.', 'text.checkpoints'],
  'gin': ['cli'],
  'tensorflow': ['data.', 'text.', 'training.metrics'],
  'tensorflow_datasets': ['data.', 'text.'],
  'seqio': ['data.', 'text.'],
  'clu': ['training.'],
  'torch': ['convert_inception'],  # reads the weights that FID's authors use
}
NOWHERE = ['transformers', 'diffusers', 't5x', 'pickle', 'imp', 'dill']
RESOURCES = ('importlib.resources', 'importlib.metadata')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Import:
  """One imported name, and where in its file it stands."""

  name: str  # dotted, 'imagen_jax.diffusion.process' or 'flax.linen'
  line: int
  level: int = 0  # dots of a relative import
  lazy: bool = False  # inside a function: not run on import
  guarded: bool = False  # under `if __name__ == '__main__'`


def _is_main_guard(node):
  return isinstance(node, ast.If) and '__main__' in ast.unparse(node.test)


def imports(source):
  """All imports of a source text."""
  found = []

  def visit(node, lazy, guarded):
    where = {'lazy': lazy, 'guarded': guarded}
    if isinstance(node, ast.Import):
      for alias in node.names:
        found.append(Import(name=alias.name, line=node.lineno, **where))
    elif isinstance(node, ast.ImportFrom):
      for alias in node.names:
        name = f'{node.module or ""}.{alias.name}'.lstrip('.')
        found.append(
          Import(name=name, line=node.lineno, level=node.level, **where)
        )
    function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for child in ast.iter_child_nodes(node):
      visit(child, lazy or function, guarded or _is_main_guard(node))

  visit(ast.parse(source), False, False)
  return found


def modules():
  """Dotted names below imagen_jax -> files; '' is the package itself."""
  table = {}
  for path in sorted(PACKAGE.rglob('*.py')):
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    table['.'.join(parts).removesuffix('__init__').rstrip('.')] = path
  return table


MODULES = modules()


def _top(module):
  return module.split('.')[0]


def _ours(importer, found, known):
  """What is wrong with an import of our own package, or None."""
  target = found.name.removeprefix('imagen_jax').lstrip('.')
  if target in ('', '__version__'):
    return None
  if target not in known:
    return f'imports a name, not a module: {found.name}'
  if importer == '':
    return None if found.lazy else 'the package itself imports nothing early'
  mine, other = _top(importer), _top(target)
  if importer == target or mine == other:
    return None
  if other == 'cli' and not (found.guarded or found.lazy):
    return 'cli is imported under the main guard alone'
  if other == 'cli':
    return None
  if FLOORS[mine] == FLOORS[other] == ENTRY:
    return f'an entry point imports another: {other}'
  both_of_the_root = known.get(mine) == known.get(other) == 'file'
  neighbours = both_of_the_root or (mine, other) in SAME_FLOOR
  if FLOORS[other] == FLOORS[mine] and neighbours:
    return None
  if FLOORS[other] >= FLOORS[mine]:
    return f'floor {FLOORS[mine]} imports {target} of floor {FLOORS[other]}'
  return None


def _library(importer, found):
  """What is wrong with an import of a library, or None."""
  name, top = found.name, _top(found.name)
  if top == 'importlib' and not name.startswith(RESOURCES):
    return 'importlib: grep must find every use'
  if top in NOWHERE:
    return f'{top} has no place in this package'
  for library, places in PLACES.items():
    if name == library or name.startswith(library + '.'):
      if not importer.startswith(tuple(places)):
        return f'{library} is imported only in {", ".join(places)}'
  if top in sys.stdlib_module_names:
    return None
  if top not in CORE and not found.lazy:
    return f'{top} is not in the core: import it inside a function'
  if importer.startswith('diffusion') and top not in ('jax', 'numpy'):
    return f'diffusion/ knows jax and numpy alone, not {top}'
  return None


def violations(importer, source, known):
  """Lines of complaint about one module; [] where all is well."""
  complaints = []
  for found in imports(source):
    if found.level:
      problem = 'relative import'
    elif _top(found.name) == 'imagen_jax':
      problem = _ours(importer, found, known)
    else:
      problem = _library(importer, found)
    if problem:
      complaints.append(f'{importer}:{found.line}: {problem}')
  return complaints


def _kinds(table):
  """Module name -> 'folder' or 'file'."""
  return {
    name: 'folder' if path.name == '__init__.py' else 'file'
    for name, path in table.items()
  }


def test_every_module_has_a_floor():
  missing = {_top(name) for name in MODULES if name} - set(FLOORS)
  assert not missing, f'give these a floor in {__file__}: {missing}'


@pytest.mark.parametrize('module', MODULES)
def test_floors(module):
  source = MODULES[module].read_text(encoding='utf-8')
  assert not violations(module, source, _kinds(MODULES))


def test_no_catch_all_modules():
  names = {'utils', 'util', 'common', 'helpers', 'misc'}
  found = [
    path
    for folder in (PACKAGE, ROOT / 'tests', ROOT / 'benchmarks')
    for path in folder.rglob('*')
    if path.stem.removeprefix('test_') in names
  ]
  assert not found


def setup_lists():
  """CORE and EXTRAS of setup.py, without running it."""
  tree = ast.parse((ROOT / 'setup.py').read_text(encoding='utf-8'))
  return {
    node.targets[0].id: ast.literal_eval(node.value)
    for node in tree.body
    if isinstance(node, ast.Assign) and node.targets[0].id.isupper()
    if node.targets[0].id != 'ROOT'
  }


def test_core_is_what_setup_installs():
  """A library is in this file's list exactly where setup.py installs it.

  And bounds are lower bounds: an upper one breaks users' environments.
  """
  lists = setup_lists()
  every = [*lists['CORE'], *(r for e in lists['EXTRAS'].values() for r in e)]
  assert all(re.fullmatch(r'[\w\[\]-]+>=[\d.]+', r) for r in every), every
  names = {r.split('>=')[0] for r in lists['CORE']}
  renamed = {
    'orbax-checkpoint': 'orbax',
    'pillow': 'PIL',
    'gin-config': 'gin',
    'absl-py': 'absl',
  }
  assert {renamed.get(n, n) for n in names} == CORE - {'ml_dtypes'}


def test_importing_the_package_imports_no_library():
  """So it costs nothing beside `import jax`, and never TensorFlow."""
  libraries = CORE | {'tensorflow'}
  code = (
    f'import sys; sys.path.insert(0, {str(ROOT)!r}); import imagen_jax; '
    f'print({libraries!r} & set(sys.modules))'
  )
  result = subprocess.run(
    [sys.executable, '-I', '-c', code],
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout.strip() == 'set()'


KNOWN = _kinds(MODULES) | {
  'diffusion': 'folder',
  'diffusion.process': 'file',
  'models.unet': 'file',
  'text.encoders': 'file',
  'training.state': 'file',
  'cascade': 'file',
  'stages': 'file',
  'sample': 'file',
  'train': 'file',
  'cli': 'file',
}


@pytest.mark.parametrize(
  ('importer', 'source'),
  [
    ('diffusion.samplers', 'from imagen_jax.models import unet'),
    ('diffusion.samplers', 'import scipy'),
    ('diffusion.samplers', 'import optax'),
    ('data.pipeline', 'from imagen_jax.text import encoders'),
    ('data.pipeline', 'import tensorflow as tf'),
    ('data.pipeline', 'try:\n  import seqio\nexcept ImportError:\n  pass'),
    ('training.state', 'def f():\n  import tensorflow'),
    ('training.state', 'import flax.linen as nn'),
    ('training.state', 'from flax import linen'),
    ('training.state', 'from flax.linen import Dense'),
    ('training.state', 'from imagen_jax import cascade'),
    ('stages', 'from imagen_jax.training import state'),
    ('models.unet', 'import orbax.checkpoint as ocp'),
    ('models.unet', 'from . import layers'),
    ('cascade', 'from imagen_jax import sample'),
    ('cascade', 'import optax'),
    ('sample', 'from imagen_jax import train'),
    ('sample', 'from imagen_jax import cli'),
    ('sample', 'import gin'),
    ('sample', 'import importlib'),
    ('sample', 'def f():\n  import torch'),
    ('sample', 'from imagen_jax.diffusion.process import alpha_sigma'),
    ('', 'from imagen_jax import cascade'),
  ],
)
def test_violations_are_found(importer, source):
  assert violations(importer, source, KNOWN)


@pytest.mark.parametrize(
  ('importer', 'source'),
  [
    ('training.state', 'from imagen_jax import stages'),
    ('data.pipeline', 'def f():\n  import tensorflow_datasets as tfds'),
    ('cascade', 'from imagen_jax import stages'),
    ('', 'def f():\n  from imagen_jax import cascade'),
    (
      'train',
      "if __name__ == '__main__':\n  from imagen_jax import cli, train",
    ),
  ],
)
def test_what_is_allowed_passes(importer, source):
  assert not violations(importer, source, KNOWN)

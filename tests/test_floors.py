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

# Folder -> floor. A file at the top of the package is a command, above all.
FLOORS = {
  'config': 0,
  'files': 0,
  'diffusion': 1,
  'models': 1,
  'parallel': 1,
  'stages': 2,
  'text': 2,
  'data': 2,
  'sampling': 3,
  'training': 4,
  'evaluation': 5,
  'planning': 5,
  'pages': 6,
}
COMMAND = 7
GIN_JOBS = 'training.gin_jobs'  # imports gin, which `import train` does not

# What setup.py installs always, by import name. ml_dtypes comes with jax.
CORE = {
  'jax', 'flax', 'optax', 'orbax', 'numpy', 'PIL', 'gin', 'absl',
  'sentencepiece', 'safetensors', 'msgpack', 'tensorstore', 'tqdm',
  'ml_dtypes', 'array_record', 'scipy', 'flatbuffers',
}  # fmt: skip

# Library -> the only places (prefixes of module names) that may import it.
PLACES = {
  'flax.linen': ['models.'],
  'jax._src': ['parallel.'],  # what JAX does not offer
  'optax': ['training.'],
  'orbax': ['training.', 'text.checkpoints'],
  'gin': [GIN_JOBS],
  'tensorflow': ['data.', 'text.', 'training.writers'],
  'tensorflow_datasets': ['data.', 'text.'],
  'seqio': ['data.', 'text.'],
  'clu': ['training.writers'],
  'wandb': ['training.writers'],
  'huggingface_hub': ['files.hub'],
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


def _floor(module):
  return FLOORS.get(_top(module), COMMAND)


def _ours(importer, found, known):
  """What is wrong with an import of our own package, or None."""
  target = found.name.removeprefix('imagen_jax').lstrip('.')
  if target in ('', '__version__'):
    return None
  if target not in known:
    return f'imports a name, not a module: {found.name}'
  if importer == '':
    return None if found.lazy else 'the package itself imports nothing early'
  if target == GIN_JOBS and not (found.guarded or found.lazy):
    return f'{GIN_JOBS} is imported under the main guard alone'
  mine, other = _floor(importer), _floor(target)
  if other < mine or _top(importer) == _top(target):
    return None
  return f'{target} of floor {other} is imported on floor {mine}'


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


def test_every_folder_has_a_floor():
  folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
  assert folders - {'__pycache__', 'pretrained'} == set(FLOORS)


def test_what_lies_at_the_top_is_a_command():
  for path in PACKAGE.glob('*.py'):
    tree = ast.parse(path.read_text(encoding='utf-8'))
    is_run = any(_is_main_guard(node) for node in tree.body)
    assert is_run or path.name == '__init__.py', f'{path.name}: no command'


@pytest.mark.parametrize('module', MODULES)
def test_floors(module):
  source = MODULES[module].read_text(encoding='utf-8')
  assert not violations(module, source, MODULES)


def test_no_catch_all_modules():
  names = {'utils', 'util', 'common', 'helpers', 'misc'}
  found = [
    path
    for folder in (
      PACKAGE,
      *(ROOT / f for f in ('tests', 'benchmarks', 'tools')),
    )
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

  And bounds are lower bounds: an upper one breaks users' environments. But
  one library's next version announces that it ends the interface used here.
  """
  lists = setup_lists()
  every = [*lists['CORE'], *(r for e in lists['EXTRAS'].values() for r in e)]
  bounded = [r for r in every if not re.fullmatch(r'[\w\[\]-]+>=[\d.]+', r)]
  assert [re.sub(r'>=[\d.]+', '', r) for r in bounded] == [
    'orbax-checkpoint,<1.0'
  ]
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


@pytest.mark.parametrize(
  ('importer', 'source'),
  [
    ('diffusion.samplers', 'from imagen_jax.models import unet'),
    ('diffusion.samplers', 'from imagen_jax.parallel import partitioning'),
    ('diffusion.samplers', 'import scipy'),
    ('diffusion.samplers', 'import optax'),
    ('data.pipeline', 'from imagen_jax.text import encoders'),
    ('data.pipeline', 'import tensorflow as tf'),
    ('data.pipeline', 'try:\n  import seqio\nexcept ImportError:\n  pass'),
    ('training.state', 'def f():\n  import tensorflow'),
    ('training.state', 'import flax.linen as nn'),
    ('training.state', 'from flax import linen'),
    ('training.state', 'from flax.linen import Dense'),
    ('training.state', 'from imagen_jax.evaluation import fid'),
    ('training.state', 'from imagen_jax import train'),
    ('training.jobs', 'import gin'),
    ('training.jobs', 'from imagen_jax.training import gin_jobs'),
    ('training.profiling', 'from jax._src import distributed'),
    ('stages.stage', 'from imagen_jax.training import state'),
    ('stages.stage', 'from imagen_jax.text import encoders'),
    ('models.unet', 'import orbax.checkpoint as ocp'),
    ('models.unet', 'from . import layers'),
    ('sampling.cascade', 'from imagen_jax import sample'),
    ('sampling.cascade', 'from imagen_jax.training import state'),
    ('sampling.cascade', 'import optax'),
    ('planning.costs', 'from imagen_jax.evaluation import fid'),
    ('config.flags', 'from imagen_jax.files import weights'),
    ('sample', 'from imagen_jax import train'),
    ('sample', 'from imagen_jax.training import gin_jobs'),
    ('sample', 'import gin'),
    ('sample', 'import importlib'),
    ('sample', 'def f():\n  import torch'),
    ('sample', 'from imagen_jax.diffusion.process import alpha_sigma'),
    ('', 'from imagen_jax.sampling import cascade'),
  ],
)
def test_violations_are_found(importer, source):
  assert violations(importer, source, MODULES)


@pytest.mark.parametrize(
  ('importer', 'source'),
  [
    ('training.state', 'from imagen_jax import stages'),
    ('training.state', 'from imagen_jax.training import optimizers'),
    ('data.pipeline', 'def f():\n  import tensorflow_datasets as tfds'),
    ('sampling.cascade', 'from imagen_jax import stages'),
    ('', 'def f():\n  from imagen_jax.sampling import cascade'),
    (
      'train',
      "if __name__ == '__main__':\n"
      '  from imagen_jax import train\n'
      '  from imagen_jax.training import gin_jobs',
    ),
  ],
)
def test_what_is_allowed_passes(importer, source):
  assert not violations(importer, source, MODULES)

"""Facts about the files of this repository, whatever they compute."""

import ast
import functools
import importlib
import pathlib
import re
import subprocess

import pytest

from imagen_jax.training import gin_jobs

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'imagen_jax'
GIN = ROOT / 'gin'
FOLDERS = [
  'imagen_jax', 'gin', 'launch', 'tests', 'benchmarks', 'docs', 'notebooks',
  'tools', '.ci', '.github',
]  # fmt: skip
TEXT = {
  '.py', '.gin', '.sh', '.md', '.txt', '.toml', '.json', '.yaml', '.yml',
  '.ipynb', '.css', '.js',
}  # fmt: skip
PLAIN = {'LICENSE', '.gitignore', 'run'}  # text without a suffix

MODULE_LINES = 400
README_LINES = 200
GUIDES = sorted(
  [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *ROOT.glob('docs/*.md')]
)
# A path in a guide: in backticks, of a folder of ours or a Python file.
TOLD_PATH = re.compile(r'`([\w.*-]+(?:/[\w.*-]+)*/?)`')
THEIRS = {'my_tasks.py'}  # files that a guide lets its reader make
LEAVES = sorted(GIN.glob('*.gin'))
LAYERS = sorted([*GIN.glob('models/*.gin'), *GIN.glob('runs/*.gin')])
SCRIPTS = sorted([*ROOT.glob('launch/*.sh'), ROOT / '.ci' / 'run'])
DOCUMENTS = sorted(
  [
    *ROOT.glob('*.md'),
    *(p for f in FOLDERS for p in (ROOT / f).rglob('*.md')),
  ]
)

# Split where needed, so that this file does not find itself.
MACHINE_PATH = re.compile(r'(?<![\w.~-])/(root|home|work|opt|Users)/\w')
OUTSIDE = '../' + 'shared'
RUNS_CODE = [
  'pickle.' + 'load',
  'torch.' + 'load',
  'allow_pickle=' + 'True',
  'yaml.' + 'load(',
]
SAFELY = 'weights_only=True'  # of torch: tensors, and no code
UNFINISHED = re.compile('TO' + 'DO|FIX' + 'ME|XX' + 'X')


def name(path):
  """Path below the root, the id of a parametrised test."""
  return str(path.relative_to(ROOT))


@functools.cache
def texts():
  """Name -> text of every text file of the repository."""
  paths = {p for f in FOLDERS for p in (ROOT / f).rglob('*')}
  return {
    name(path): path.read_text(encoding='utf-8')
    for path in sorted(paths | set(ROOT.glob('*')))
    if path.is_file() and (path.suffix in TEXT or path.name in PLAIN)
  }


def lines_with(found):
  """'file:line' of every line where found(line)."""
  return [
    f'{file}:{number}'
    for file, text in texts().items()
    for number, line in enumerate(text.splitlines(), start=1)
    if found(line)
  ]


def header(path):
  """The comment that a gin file opens with."""
  lines = path.read_text(encoding='utf-8').splitlines()
  end = next((i for i, x in enumerate(lines) if not x.startswith('#')), None)
  return '\n'.join(lines[:end])


def includes(path):
  text = path.read_text(encoding='utf-8')
  return re.findall(r"^include '([^']+)'", text, re.MULTILINE)


def commands():
  """(file, module, flags) of each `python -m imagen_jax.X` that is told."""
  found = []
  for file, text in texts().items():
    if not file.endswith(('.md', '.gin', '.py', '.sh', '.ipynb')):
      continue
    joined = re.sub(r'\\\n#?\s*', ' ', text)
    # A name in capitals stands for any.
    told = r'python -m imagen_jax\.([a-z][\w.]*\b)([^\n`]*)'
    for match in re.finditer(told, joined):
      flags = re.findall(r'(?<!\S)(--\w+(?:\.\w+)*)', match.group(2))
      found.append((file, match.group(1), tuple(flags)))
  return found


def paths_told(text):
  """Paths of this repository that a guide names."""
  ours = {p.name for place in (ROOT, PACKAGE) for p in place.iterdir()}
  return [
    path
    for path in TOLD_PATH.findall(text)
    if path.endswith('.py') or ('/' in path and path.split('/')[0] in ours)
    if path not in THEIRS
  ]


def is_here(path):
  """Whether a path leads somewhere, from the root or from the package."""
  return any(any(place.glob(path.rstrip('/'))) for place in (ROOT, PACKAGE))


def test_no_paths_of_one_machine():
  assert not lines_with(MACHINE_PATH.search)
  assert not lines_with(lambda line: OUTSIDE in line)


def test_the_pattern_for_paths():
  assert MACHINE_PATH.search("open('/" + "home/me/x')")
  assert not MACHINE_PATH.search('https://example.org/' + 'work/x')


def test_nothing_that_can_run_code_is_loaded():
  def runs(line):
    return any(x in line for x in RUNS_CODE) and SAFELY not in line

  assert not lines_with(runs)


def test_nothing_unfinished():
  assert not lines_with(UNFINISHED.search)


def test_modules_are_short():
  long = {
    name(path): lines
    for path in PACKAGE.rglob('*.py')
    if (lines := len(path.read_text(encoding='utf-8').splitlines()))
    > MODULE_LINES
  }
  assert not long, f'split these by noun: {long}'


def test_gin_is_no_package():
  """gin/__init__.py would hide gin-config from everyone in this folder."""
  assert not (GIN / '__init__.py').exists()


def test_tests_are_no_package():
  assert not list((ROOT / 'tests').rglob('__init__.py'))


@pytest.mark.parametrize('path', LEAVES, ids=name)
def test_leaf_says_what_it_is(path):
  """Command, hardware, expected result, section of the paper."""
  text = header(path)
  told = f'--gin_file=gin/{path.name}'
  assert told in text, f'no command with {told}'
  for word in ('python -m imagen_jax.', 'Hardware', 'Expected'):
    assert word in text, f'{word} is missing'
  assert re.search(r'[Ss]ection \d|[Aa]ppendix|Not in the paper', text)


@pytest.mark.parametrize('path', LAYERS, ids=name)
def test_layer_says_what_it_is(path):
  assert len(header(path)) > 20


def test_include_depth():
  """A leaf includes models/, layouts/ and runs/; those include nothing."""
  for path in LEAVES:
    for include in includes(path):
      assert include.startswith(('models/', 'layouts/', 'runs/')), path.name
      assert (GIN / include).exists(), f'{path.name} includes {include}'
  assert not [p for p in LAYERS if includes(p)]


@pytest.mark.parametrize('path', SCRIPTS, ids=name)
def test_script_parses(path):
  subprocess.run(['bash', '-n', path], check=True)


@pytest.mark.parametrize('path', DOCUMENTS, ids=name)
def test_links_lead_somewhere(path):
  text = path.read_text(encoding='utf-8')
  links = re.findall(r'\]\(([^)#\s]+)[^)]*\)|src="([^"]+)"', text)
  targets = [a or b for a, b in links if '://' not in a + b]
  missing = [t for t in targets if not (path.parent / t).exists()]
  assert not missing, f'{name(path)} links to {missing}'


def anchors(path):
  """What `#...` of a link to a document may be: its headings, as links."""
  headings = re.findall(
    r'^#+ (.+)$', path.read_text(encoding='utf-8'), re.MULTILINE
  )
  plain = [re.sub(r'[^\w\- ]', '', heading.lower()) for heading in headings]
  return {heading.replace(' ', '-') for heading in plain}


@pytest.mark.parametrize('path', DOCUMENTS, ids=name)
def test_links_to_headings_lead_somewhere(path):
  text = path.read_text(encoding='utf-8')
  links = re.findall(r'\]\(([^)#\s:]*\.md)?#([^)\s]+)\)', text)
  missing = [
    f'{target}#{anchor}'
    for target, anchor in links
    if anchor not in anchors(path.parent / target if target else path)
  ]
  assert not missing, f'{name(path)} links to {missing}'


@pytest.mark.parametrize('path', GUIDES, ids=name)
def test_paths_that_are_told_exist(path):
  told = paths_told(path.read_text(encoding='utf-8'))
  missing = [p for p in told if not is_here(p)]
  assert not missing, f'{name(path)} tells of {missing}'


def test_the_pattern_for_told_paths():
  assert paths_told('`gin/*.gin`, `data/no.py` of `my_tasks.py`, `no/a.b`') == [
    'gin/*.gin',
    'data/no.py',
  ]
  assert is_here('gin/*.gin') and is_here('data/pipeline.py')
  assert not is_here('data/no.py')


def test_readme_fits_and_shows_every_folder_of_the_package():
  text = (ROOT / 'README.md').read_text(encoding='utf-8')
  assert len(text.splitlines()) <= README_LINES
  shown = set(re.findall(r'^  (\w+)/ {2,}\S', text, re.MULTILINE))
  folders = {p.name for p in PACKAGE.iterdir() if p.is_dir()}
  assert shown == folders - {'__pycache__'}


def test_gin_files_that_are_told_exist():
  missing = {
    (file, leaf)
    for file, text in texts().items()
    if file.endswith(('.md', '.gin', '.sh'))
    for leaf in re.findall(r'\bgin/[\w/]+\.gin\b', text)
    if not (ROOT / leaf).exists()
  }
  assert not missing


def test_commands_that_are_told_exist():
  """Modules are there, and their parsers know each flag."""
  for file, module, flags in commands():
    path = PACKAGE / f'{module.replace(".", "/")}.py'
    assert path.exists(), f'{file} tells of imagen_jax.{module}'
    job = importlib.import_module(f'imagen_jax.{module}')
    several_hosts = functools.partial(gin_jobs.parser, distributed=True)
    ours = several_hosts if module == 'train' else gin_jobs.parser
    parser = getattr(job, 'parser', ours)()
    known = set(parser._option_string_actions)
    unknown = {f for f in flags if not f.startswith('--gin.')} - known
    assert not unknown, f'{file}: imagen_jax.{module} has no {unknown}'


def test_ci_runs_the_command_of_the_readme_on_every_python():
  """Those that setup.py names."""
  yaml = pytest.importorskip('yaml')
  workflow = ROOT / '.github' / 'workflows' / 'ci.yml'
  job = yaml.safe_load(workflow.read_text(encoding='utf-8'))['jobs']['tests']
  setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
  named = re.findall(r"'Programming Language :: Python :: (3\.\d+)'", setup)
  assert job['strategy']['matrix']['python'] == named
  runs = [step['run'] for step in job['steps'] if 'run' in step]
  assert runs[0] == 'bash launch/test.sh'
  readme = (ROOT / 'README.md').read_text(encoding='utf-8')
  assert f'```bash\n{runs[0]}\n```' in readme


def test_the_lane_of_the_extra_data_runs_in_ci():
  """Both in .ci/run and in the workflow; nothing else runs those tests."""
  yaml = pytest.importorskip('yaml')
  command = 'bash launch/test.sh --data'
  workflow = ROOT / '.github' / 'workflows' / 'ci.yml'
  steps = yaml.safe_load(workflow.read_text(encoding='utf-8'))['jobs']['data']
  assert command in [step.get('run') for step in steps['steps']]
  assert command in (ROOT / '.ci' / 'run').read_text(encoding='utf-8')


def test_annotations_are_offered_to_type_checkers():
  assert (PACKAGE / 'py.typed').exists()
  assert "'py.typed'" in (ROOT / 'setup.py').read_text(encoding='utf-8')


def test_artwork_carries_its_licence():
  """The sprites are MIT: the text travels with them, in the wheel too."""
  folder = PACKAGE / 'data' / 'emoji_scenes'
  licence = (folder / 'sprites_LICENSE.txt').read_text(encoding='utf-8')
  assert 'Copyright (c) Microsoft Corporation' in licence
  assert 'emoji_scenes/*LICENSE*' in (ROOT / 'setup.py').read_text()


def test_the_way_of_a_prompt_takes_few_arguments():
  """At most eight for a function of sampling/, but for `Cascade.sample`."""
  many = []
  for path in sorted((PACKAGE / 'sampling').glob('*.py')):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
      if isinstance(node, ast.FunctionDef):
        args = node.args
        count = len(args.posonlyargs) + len(args.args) + len(args.kwonlyargs)
        if count > 8 and (path.stem, node.name) != ('cascade', 'sample'):
          many.append(f'{path.name}: {node.name} takes {count}')
  assert not many

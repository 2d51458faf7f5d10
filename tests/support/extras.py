"""Which tests need libraries that the default lane does not have."""

import inspect

# Of the extra `data`; what a test asks for by `pytest.importorskip`.
DATA = ('tensorflow', 'tensorflow_datasets', 'seqio', 'grain', 'pyarrow')


def needs_data(item) -> bool:
  """Whether a test, a fixture of it or a function it is given asks for one."""
  functions = [item.function]
  for definitions in item._fixtureinfo.name2fixturedefs.values():
    functions += [definition.func for definition in definitions]
  if hasattr(item, 'callspec'):
    functions += filter(inspect.isfunction, item.callspec.params.values())
  return any(map(_asks, functions))


def _asks(function):
  try:
    source = inspect.getsource(function)
  except (OSError, TypeError):
    return False
  return any(f"importorskip('{name}'" in source for name in DATA)

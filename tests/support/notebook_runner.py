"""Runs the code cells of a notebook in this process, with other parameters.

run(path, STEPS=2) executes every cell in order; after the one that is tagged
`parameters` the given names are set, as papermill does. IPython turns its
magics into Python; there is no kernel, which would take seconds to start and
compile every program anew.
"""

import pathlib

import nbformat
from IPython.core import inputtransformer2


def read(path):
  """The notebook; raises nbformat.ValidationError where it is none."""
  notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
  nbformat.validate(notebook)
  return notebook


def run(path, **parameters):
  """Executes all code cells; returns their namespace."""
  names = {'__name__': '__main__'}
  transform = inputtransformer2.TransformerManager().transform_cell
  for number, cell in enumerate(read(path).cells):
    if cell.cell_type != 'code':
      continue
    where = f'{pathlib.Path(path).name}, cell {number}'
    exec(compile(transform(cell.source), where, 'exec'), names)
    if 'parameters' in cell.metadata.get('tags', ()):
      unknown = parameters.keys() - names.keys()
      assert not unknown, f'{where} sets no {unknown}'
      names |= parameters
  return names

"""Examples of a registered seqio Task or Mixture, in order."""

import functools

from imagen_jax.data import sequential, tfds_sets, tfds_streams


def check_task(name, split):
  """The registered seqio Task or Mixture, which has the split."""
  try:
    import seqio  # not in the core, and slow to import
  except ImportError as e:
    raise ValueError(
      f"seqio:{name} needs seqio: pip install 'imagen-jax[data]'"
    ) from e
  try:
    task = seqio.get_mixture_or_task(name)
  except ValueError as e:
    raise ValueError(
      f'seqio:{name} is not registered ({str(e).splitlines()[0][:120]}); '
      'import the module that registers it in the gin file'
    ) from e
  if split not in task.splits:
    raise tfds_sets.no_split(f'seqio:{name}', split, task.splits)
  return task


def task_items(name, split, image, caption, epoch):
  """(captions, picture) of a registered seqio Task or Mixture, once."""
  dataset = functools.partial(
    check_task(name, split).get_dataset,
    sequence_length=None,
    split=split,
    shuffle=True,
    seed=epoch,
    num_epochs=1,
  )
  for row in tfds_streams.rows(dataset, f'seqio:{name}/{split}'):
    yield sequential.example(row, image, caption, f'seqio:{name}')

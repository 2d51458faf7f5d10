"""Imagen in JAX: text to pictures by a cascade of diffusion models.

    import imagen_jax
    cascade = imagen_jax.load_cascade()
    images = cascade.sample(['a red fox at sunset'])  # uint8 [n, h, w, 3]

Importing this package imports nothing heavy; `load_cascade` brings what it
needs when it is called.
"""

__version__ = '0.1.0'


def load_cascade(path=None, *, devices=None, rows_from=None):
  """The cascade in directory `path`; None is the one that ships with us.

  It draws on `devices`, None = all of this process; at stages from the
  resolution `rows_from` on these share the rows of each picture.
  """
  from imagen_jax.sampling import cascade  # heavy: flax, the networks

  return cascade.load_cascade(path, devices=devices, rows_from=rows_from)


def _settle():
  """Settles the environment of a command, before JAX reads its variables."""
  from imagen_jax.config import environment

  if environment.is_command():
    environment.settle()


_settle()

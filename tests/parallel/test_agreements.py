"""What processes tell one another, as far as one process shows it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.parallel import agreements


def test_one_process_agrees_with_itself():
  agreements.agree(None)
  with pytest.raises(ValueError, match='no room'):
    agreements.agree('no room')
  agreement = agreements.Agreement()
  assert [agreement.largest(v) for v in (0, 1, 0)] == [0, 1, 0]
  tree = {'a': np.ones(3)}
  assert agreements.whole(tree) is tree


def test_alone_nobody_is_waited_for():
  agreements.meet()
  function = jax.jit(jnp.sin)
  assert agreements.compiled(function, 0.0) is function


def test_one_program_after_the_other_where_there_are_several(monkeypatch):
  slow = jax.jit(
    lambda x: jax.lax.fori_loop(0, 40, lambda _, x: jnp.tanh(x @ x), x)
  )
  x = jnp.ones([700, 700])
  slow(x).block_until_ready()  # compiled
  alone = agreements.settle(slow(x))
  assert not alone.is_ready(), 'one process waits for nothing'
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  assert agreements.settle(slow(x)).is_ready()

"""Softmax attention of both U-Nets, and its gradient (Imagen, sec. 2.5).

  attend(queries [b, n, heads, k], keys [b, m, heads, k], values, mask [b, m])
  -> [b, n, heads * k]

The gradient is written out (FlashAttention, Dao et al., 2022, appendix B.2): a
softmax needs the sum over keys of weight times gradient, which is the dot
product of the result with its own gradient, k products a position in place of
m. XLA, left to differentiate, reads the m weights once more for it; on a CPU
that alone was half of the backward pass at 1,024 positions.
"""

import jax
import jax.numpy as jnp

# Added to a float32 logit, this leaves nothing of it: weight 0, and unlike with
# -inf a row without a single true key is the mean of all values, not NaN.
_MASKED = -1e30


def attend(queries, keys, values, mask):
  """Softmax attention, weights in float32; `mask` has no gradient.

  queries [b, n, heads, k], keys and values [b, m, heads, k], mask [b, m]
  (False is not seen) -> [b, n, heads * k]. A mask of numbers in [0, 1] counts
  a key as that much of one: half of two captions may be heard.
  """
  # Heads first: batches of plain products, which a CPU does fastest.
  queries, keys, values = (x.swapaxes(1, 2) for x in (queries, keys, values))
  out = _attend(queries, keys, values, mask).swapaxes(1, 2)
  return out.reshape(*out.shape[:-2], -1)


@jax.custom_vjp
def _attend(queries, keys, values, mask):
  """[b, heads, n, k], [b, heads, m, k] twice, [b, m] -> [b, heads, n, k]."""
  return _forward(queries, keys, values, mask)[0]


def _forward(queries, keys, values, mask):
  early, late = _scales(queries)
  logits = jnp.einsum(
    'bhnk,bhmk->bhnm',
    queries * early,
    keys,
    preferred_element_type=jnp.float32,
  )
  logits = logits * late + _bias(mask)[:, None, None, :]
  weights = jax.nn.softmax(logits, axis=-1).astype(values.dtype)
  out = jnp.einsum('bhnm,bhmk->bhnk', weights, values)
  return out, (queries, keys, values, weights, out)


def _scales(queries):
  """k^-1/2 as two factors: of queries [..., k], and of logits.

  Queries are fewer, and what reads and writes n m numbers is what attention
  costs on a CPU. In 16 bits they would be rounded once more.
  """
  scale = queries.shape[-1] ** -0.5
  return (scale, 1.0) if queries.dtype == jnp.float32 else (1.0, scale)


def _bias(mask):
  """What a mask adds to logits, float32."""
  if jnp.issubdtype(mask.dtype, jnp.floating):
    share = jnp.log(jnp.maximum(mask.astype(jnp.float32), 1e-30))
    return jnp.where(mask > 0, share, _MASKED)
  return jnp.where(mask, 0.0, _MASKED)


def _backward(kept, g):
  queries, keys, values, weights, out = kept
  early, late = _scales(queries)
  scaled = g * early
  mean = (out.astype(jnp.float32) * scaled).sum(axis=-1, keepdims=True)
  back = jnp.einsum(
    'bhnk,bhmk->bhnm', scaled, values, preferred_element_type=jnp.float32
  )
  back = weights * (back - mean) * late  # of the product of queries and keys
  back = back.astype(queries.dtype)
  # Keys and values last, not first: half the time on a CPU, where the product
  # need not turn the n m weights round. A TPU does the same either way.
  return (
    jnp.einsum('bhnm,bhmk->bhnk', back, keys),
    jnp.einsum('bhnk,bhnm->bhkm', queries, back).swapaxes(2, 3),
    jnp.einsum('bhnk,bhnm->bhkm', g, weights).swapaxes(2, 3),
    None,
  )


_attend.defvjp(_forward, _backward)

"""What chips can do: the makers' figures, each with its source.

TPUs: cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}, tables of specifications.
GPUs: NVIDIA's data sheets, bfloat16 without sparsity.
"""

import dataclasses

GiB = 1 << 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accelerator:
  """One chip."""

  name: str
  peak_flops: float  # of bfloat16 products, per second
  memory: int  # of high bandwidth, bytes
  memory_rate: float  # bytes per second
  link_rate: float  # between chips, all links, both directions, bytes/s


V4 = Accelerator(
  name='TPU v4',
  peak_flops=275e12,
  memory=32 * GiB,
  memory_rate=1228e9,
  link_rate=300e9,  # 2400 Gbps
)
V5E = Accelerator(
  name='TPU v5e',
  peak_flops=197e12,
  memory=16 * GiB,
  memory_rate=819e9,
  link_rate=400e9,
)
V5P = Accelerator(
  name='TPU v5p',
  peak_flops=459e12,
  memory=95 * GiB,
  memory_rate=2765e9,
  link_rate=1200e9,
)
V6E = Accelerator(
  name='TPU v6e',
  peak_flops=918e12,
  memory=32 * GiB,
  memory_rate=1638e9,
  link_rate=800e9,
)
A100 = Accelerator(
  name='NVIDIA A100 80GB',
  peak_flops=312e12,
  memory=80 * GiB,
  memory_rate=2039e9,
  link_rate=600e9,
)
H100 = Accelerator(
  name='NVIDIA H100 SXM',
  peak_flops=989e12,
  memory=80 * GiB,
  memory_rate=3350e9,
  link_rate=900e9,
)
H200 = dataclasses.replace(
  H100, name='NVIDIA H200', memory=141 * 10**9, memory_rate=4800e9
)

# Beginnings of what JAX calls a device's kind; longer ones first.
_KINDS = (
  ('TPU v6', V6E),
  ('TPU v5 lite', V5E),
  ('TPU v5e', V5E),
  ('TPU v5', V5P),
  ('TPU v4', V4),
  ('NVIDIA A100', A100),
  ('NVIDIA H100', H100),
  ('NVIDIA H200', H200),
)


def of_kind(kind):
  """The accelerator of a `device_kind`, or None where it is not known."""
  return next((a for start, a in _KINDS if kind.startswith(start)), None)

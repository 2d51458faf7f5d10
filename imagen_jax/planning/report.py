"""A plan as a table for people; the same numbers go out as JSON."""

_GB = 1e9


def table(plan):
  """Lines about one compiled plan, a dict as `plan.measure` makes it."""
  lines = [
    f'{plan["name"]}: {plan["parameters"]:,} parameters, batch '
    f'{plan["batch"]} on {plan["topology"]} ({plan["chips"]} x {plan["chip"]})',
    '  ' + settings(plan),
  ]
  if not plan['fits']:
    return [*lines, f'  DOES NOT FIT: {plan["problem"]}']
  return [
    *lines,
    f'  compiled in {plan["compile_seconds"]:.0f} s ({plan["level"]} level)',
    '',
    *_memory(plan['memory'], plan['hbm']),
    '',
    *_work(plan),
    '',
    *_collectives(plan['collectives']),
    '',
    *_times(plan),
  ]


def settings(plan):
  """The mesh and the way of computing, on one line."""
  if 'sampling' in plan:
    return _sampler(plan)
  mesh = ' x '.join(f'{axis}={n}' for axis, n in plan['mesh'].items())
  c = plan['compute']
  scan = 'scanned' if c['scan'] else 'unrolled'
  return (
    f'mesh {mesh}, remat {c["remat"]}, micro-batches {c["micro_batches"]}, '
    f'equal blocks {scan}'
  )


def _sampler(plan):
  s = plan['sampling']
  spread = 'rows cut over chips' if plan['cut'] else 'each chip its own'
  turn = ', guidance in turn' if s['in_turn'] else ''
  return (
    f'sampler {s["sampler"]}, {s["steps"]} steps, batch {s["batch"]}, '
    f'{spread}{turn}'
  )


def row(plan):
  """One line of a ranking."""
  if not plan['fits']:
    return f'  {"-":>8}  {settings(plan)}: {plan["problem"]}'
  best = plan['estimates']['in turn']
  return (
    f'  {best["step_seconds"]:7.4f}s  {plan["memory"]["peak"] / _GB:6.2f} GB  '
    f'{settings(plan)}'
  )


def _memory(memory, hbm):
  names = {
    'parameters': 'parameters',
    'ema': 'their average',
    'optimizer': 'optimizer',
    'batch': 'batch',
    'temporaries': 'activations, gradients, gathered',
    'program': 'program',
    'peak': 'peak',
  }
  lines = ['  memory of a chip                        GB']
  lines += [
    f'    {told:<34} {memory[name] / _GB:7.3f}'
    for name, told in names.items()
    if name in memory
  ]
  share = memory['peak'] / hbm
  return [*lines, f'    of {hbm / _GB:.2f} GB HBM{share:>32.0%}']


def _work(plan):
  flops = plan['flops']
  lines = [f'    FLOPs of all chips             {_tera(flops["computed"])}']
  if 'sampling' not in plan:
    more = flops['computed'] / flops['model'] - 1
    lines = [
      f'    model FLOPs (3 x forward)      {_tera(flops["model"])}',
      f'    computed, with recomputation   {_tera(flops["computed"])} '
      f'({more:+.0%})',
    ]
  return [
    '  work of a step',
    *lines,
    f'    bytes moved in a chip          {plan["moved"] / _GB:14.2f} GB',
    f'    bytes sent by a chip           {plan["sent"] / _GB:14.2f} GB',
  ]


def _tera(number):
  tera = number / 1e12
  return f'{tera:14.{1 if tera >= 10 else 3}f} T'


def _collectives(found):
  lines = ['  collectives             chips   count          GB     sent GB']
  lines += [
    f'    {c["kind"]:<20} {c["group"]:>6} {c["count"]:>7} '
    f'{c["size"] / _GB:>11.3f} {c["sent"] / _GB:>11.3f}'
    for c in found
  ]
  return lines if found else ['  collectives: none']


def _times(plan):
  parts = ', '.join(
    f'{name} {plan["seconds"][name]:.4f} s'
    for name in ('products', 'memory', 'links')
  )
  days = '' if 'sampling' in plan else '  days for 2.5M x 2048'
  lines = [
    f'  roofline of a step: {parts}',
    f'  estimate        step s    images/s  share of peak{days}',
  ]
  names = {
    'overlapped': 'all overlaps',
    'in turn': 'links wait',
    'xla': "XLA's own",
  }
  for name, f in plan['estimates'].items():
    days = f'{f["paper_days"]:21.1f}' if 'paper_days' in f else ''
    lines.append(
      f'    {names[name]:<13} {f["step_seconds"]:7.4f} '
      f'{f["images_per_second"]:11.{0 if days else 3}f} '
      f'{f["peak_share"]:14.0%} {days}'.rstrip()
    )
  if 'xla' not in plan['estimates']:
    lines.append("    XLA's own estimate is not a positive number: left out")
  return lines

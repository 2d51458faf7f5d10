"""A study of two directories, all of it voted by a scripted browser.

  python benchmarks/study.py --a=DIR --b=DIR --out=study.sqlite --raters=3

Drives the rating page in an installed Chromium, as people would use it: pages
are loaded, keys are pressed, forms are sent. The raters are scripts and no
people, and the file, the page and every figure say so. They look at the pixels
alone: the side with more detail (neighbouring pixels that differ) is the better
one, unless both are nearly alike; what fits the caption they cannot tell and
choose at random. So the votes test the machinery and mean nothing else.
"""

import argparse
import pathlib
import random
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support import chromium  # noqa: E402

ALIKE = 0.03  # share by which two sums of detail may differ and be alike

# Differences of neighbouring pixels, summed over the pictures of each side.
DETAIL = """
Promise.all([...document.querySelectorAll('.sides > *')].map(async (side) => {
  let sum = 0;
  for (const image of side.querySelectorAll('img')) {
    await image.decode();
    const canvas = document.createElement('canvas');
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    const d = context.getImageData(0, 0, canvas.width, canvas.height).data;
    for (let i = 4; i < d.length; i += 4) sum += Math.abs(d[i] - d[i - 4]);
  }
  return sum;
}))
"""


def serve(args):
  """Starts the server: (process, address)."""
  command = [sys.executable, '-m', 'imagen_jax.rate', '--simulated']
  command += [f'--a={args.a}', f'--b={args.b}', f'--out={args.out}']
  command += [f'--protocol={args.protocol}', '--port=0']
  command += [f'--names={args.names}'] if args.names else []
  server = subprocess.Popen(
    command, cwd=ROOT, stdout=subprocess.PIPE, text=True
  )
  for line in server.stdout:
    print(line, end='')
    if re.match(r'http://', line):
      return server, line.strip()
  raise SystemExit('the server did not start')


def vote(tab, rng):
  """Answers both questions by keys and sends the form."""
  left, right = tab.value(DETAIL)
  alike = abs(left - right) <= ALIKE * max(left, right, 1)
  tab.press('2' if alike else '1' if left > right else '3')
  tab.press(rng.choice('123'))
  with tab.loading():
    tab.press('Enter')


def main():
  p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  p.add_argument('--a', required=True, help='pictures of one model')
  p.add_argument('--b', required=True, help='pictures of the other')
  p.add_argument('--out', required=True, help='SQLite file of the study')
  p.add_argument('--protocol', default='drawbench', help='of rate')
  p.add_argument('--names', help='of the two, with a comma between')
  p.add_argument('--raters', type=int, default=3, help='one after another')
  p.add_argument('--shot', help='PNG to write of the first pair')
  args = p.parse_args()
  server, url = serve(args)
  cast = 0
  try:
    with chromium.Browser() as browser:
      for number in range(args.raters):
        rng, tab = random.Random(number), browser.tab(1280, 900)
        tab.go(url)
        with tab.loading():
          tab.click('button')
        while tab.value('!!document.querySelector("main form")'):
          if tab.value('!!document.querySelector("form.vote")'):
            if args.shot and not cast:
              tab.value(DETAIL)
              tab.screenshot(args.shot)
            vote(tab, rng)
            cast += 1
          else:  # a pause
            with tab.loading():
              tab.click('main form button')
        print(f'rater {number + 1}: {tab.value("document.title")}')
        if complaints := tab.complaints():
          raise SystemExit(f'the browser complains: {complaints[:3]}')
  finally:
    server.terminate()
    server.wait()
  print(f'{cast} forms, two votes each, of {args.raters} simulated raters')


if __name__ == '__main__':
  main()

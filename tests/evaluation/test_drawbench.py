"""The released sheet of DrawBench is read whole, or not at all."""

import csv
import io

import pytest

from imagen_jax.evaluation import drawbench


def _sheet(path, split=',', header=('Prompts', 'Category'), drop=0, name=None):
  """A sheet of the released form, its prompts made up."""
  text = io.StringIO()
  rows = csv.writer(text, delimiter=split)
  rows.writerow(header)
  for category, count in drawbench.COUNTS.items():
    for number in range(count):
      prompt = f'{category}, "{number}"\n prompt'
      rows.writerow([prompt, name if name and not number else category])
  lines = text.getvalue()
  path.write_bytes(b'\xef\xbb\xbf' + lines.encode())
  if drop:
    kept = list(csv.reader(io.StringIO(lines), delimiter=split))[:-drop]
    text = io.StringIO()
    csv.writer(text, delimiter=split).writerows(kept)
    path.write_text(text.getvalue())
  return path


@pytest.mark.parametrize('split', [',', '\t'])
def test_200_prompts_of_11_categories(tmp_path, split):
  found = drawbench.read(_sheet(tmp_path / 'sheet', split))
  assert [prompt.number for prompt in found] == list(range(200))
  assert found[26].caption == 'Conflicting, "1" prompt'
  groups = drawbench.by_category(found)
  assert {name: len(some) for name, some in groups.items()} == drawbench.COUNTS
  assert sum(drawbench.COUNTS.values()) == 200 and len(groups) == 11
  assert len(drawbench.some(found, 2)) == 22
  assert drawbench.some(found, None) == found


def test_columns_and_categories_by_other_capitals(tmp_path):
  header = ('Category ', 'prompts', 'Suggested by')
  path = tmp_path / 'sheet.csv'
  with path.open('w', newline='') as file:
    rows = csv.writer(file)
    rows.writerow(header)
    for category, count in drawbench.COUNTS.items():
      for number in range(count):
        rows.writerow([f'{category.upper()} ', f'p {category} {number}', 'x'])
  assert drawbench.read(path)[45].category == 'Counting'


def test_other_sheets_are_refused_in_one_line(tmp_path):
  def refused(path, words):
    with pytest.raises(ValueError, match=words) as error:
      drawbench.read(path)
    assert '\n' not in str(error.value)

  path = tmp_path / 'sheet'
  refused(path, 'sheet cannot be read: No such file')
  other = _sheet(path, header=('Text', 'Kind'))
  refused(other, "columns Text, Kind; DrawBench's sheet has Prompts and Categ")
  refused(_sheet(path, drop=3), "18 prompts of 'Text', DrawBench 21 .*197 of")
  refused(_sheet(path, name='Colours'), "24 prompts of 'Colors', DrawBench 25")
  refused(_sheet(path, name=' '), 'line 2 has no category')
  path.write_bytes(b'PK\x03\x04\xff\xfe spreadsheet')
  refused(path, 'not UTF-8 text')
  path.write_text('')
  refused(path, 'is empty')


def test_our_own_prompts_in_the_same_form():
  found = drawbench.scenes('lite')
  groups = drawbench.by_category(found)
  assert len(found) == 200 and [len(some) for some in groups.values()] == (
    [40] * 5
  )
  assert len(drawbench.some(found, 4)) == 20

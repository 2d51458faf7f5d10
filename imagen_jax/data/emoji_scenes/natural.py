"""Natural colours that the eye takes for a named one: an apple is red.

`tools/derive_natural.py` computes these tables from the drawings, and a test
holds the two together. A scene that asks for a red apple
and one that asks for an apple ask for the same picture: the splits remove
held-out facts, and the checker compares colours, through this table.
"""

NATURAL = {
  'apple': 'red',
  'banana': 'yellow',
  'strawberry': 'red',
  'lemon': 'yellow',
  'fox': 'orange',
  'bear': 'brown',
  'frog': 'green',
  'octopus': 'orange',
  'butterfly': 'orange',
  'snail': 'brown',
  'owl': 'brown',
  'car': 'red',
  'bus': 'yellow',
  'sailboat': 'yellow',
  'castle': 'gray',
  'pine tree': 'green',
  'tree': 'green',
  'sunflower': 'yellow',
  'tulip': 'pink',
  'mushroom': 'red',
  'umbrella': 'purple',
  'balloon': 'red',
  'soccer ball': 'blue',
  'key': 'yellow',
  'teapot': 'red',
  'doughnut': 'brown',
  'alarm clock': 'red',
  'bell': 'yellow',
  'heart': 'red',
  'star': 'yellow',
  'fish': 'blue',
  'cactus': 'green',
  'turtle': 'green',
  'bunch of grapes': 'purple',
  'mouse': 'gray',
}
# Between two colours, and near both: the scene that asks for one of them and
# the one that asks for none are different scenes that look alike.
DOUBTFUL = {
  'cat': ('orange', 'yellow'),
  'bee': ('orange', 'yellow'),
  'crown': ('orange', 'yellow'),
}

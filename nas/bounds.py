"""How large what is read may be: more is a damaged document or an attack, which would take hours or all memory."""

MOST_CHANNELS = 2**16
"""Of a layer: twenty times the widest published one."""
MOST_CELLS = 200
MOST_OPERATIONS = 10_000
"""Of a network: each takes a millisecond to build, and as much to count."""
MOST_STATES = 100
"""Of a cell."""
MOST_CLASSES = 2**17
"""ImageNet has 21,841."""
MOST_SIDE = 2**13
"""Pixels of an image's side."""
LARGEST_NUMBER = 3.5e38
"""Of single precision, in which nas computes; charts of larger ones overflow."""
MOST_SETTING = 1000
"""Of an operation's number: kernels, expansions, dilations."""

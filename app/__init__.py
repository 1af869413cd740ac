"""ksef-dispatch: what users and operators touch, and the domain behind it.

`app` is the vocabulary and `workers` is the journey. Imports point one way: `api`, `cli` and `workers` know
`domain`, `fa3`, `reading`, `package`, `ksef` and `store`; the pure packages (`domain`, `fa3`, `reading`, `package`) know nobody.
"""

__version__ = "0.1.0"

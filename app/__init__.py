"""ksef-dispatch: what users and operators touch, and the domain behind it.

`app` is the vocabulary and `workers` is the journey. Imports point one way: `api`, `cli` and `workers` import `checking`, `store`,
`webhooks` and `ksef`, and these import the pure packages (`domain`, `forms`, `reading`, `package`), which import nothing of the product.
"""

__version__ = "0.1.0"

"""Shapes of answers: `schemas` has the models; `history`, `quota` and `qr` build parts of them."""

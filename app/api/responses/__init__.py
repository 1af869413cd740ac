"""Models of answers (`schemas`), and the functions that build parts of them: `history`, `quota` and `qr`."""

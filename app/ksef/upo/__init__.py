"""Official receipts (UPO): `reader` reads one with lxml, `plain_reader` with a regex; `signature` verifies it."""

"""Official receipts (UPO): `reader` reads and verifies one, `plain_reader` does it without a tree, `signature` verifies its signature."""

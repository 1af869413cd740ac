"""States, identifiers, findings and decisions. No I/O, no settings, no clock of its own."""

"""Reading and checking one FA(3) invoice. No I/O, no settings, no clock of its own.

The order of a check: `checks/size` and `checks/encoding` look at the bytes, `wellformed` parses them once, `checks/form` makes sure
that the document is FA(3) (`checks/other_forms` names other forms), `xsd/schema_check` validates it and `xsd/schema_messages` words the
errors, `key_fields` reads the few fields that later stages need, and the other modules of `checks` apply rules that the XSD cannot
express. `checker` runs them in this order; every rule has a row in `rules`.

`fast_path` recognises most invoices without a fault in one match. It never decides otherwise than the full check
(docs/decisions/0022-one-match.md).
"""

"""The form FA(3): its row in the registry, its elements and its rules.

`key_fields` reads the few elements that rules and later stages need, and the modules of `checks` apply rules that the XSD cannot
express. `checker` runs them; `form` is the row in the registry.

`fast_path` recognises most invoices without a fault in one match. It never decides otherwise than the full check
(docs/decisions/0022-one-match.md).
"""

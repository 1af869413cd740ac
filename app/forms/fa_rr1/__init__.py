"""The form FA_RR(1): VAT RR invoices, which a buyer issues for a flat-rate farmer (docs/decisions/0026-fa-rr.md).

`key_fields` reads the elements that its rules and later stages need, `checker` has the rules, `vocabulary` the words for its elements;
`form` is the row in the registry. It has no fast path.
"""

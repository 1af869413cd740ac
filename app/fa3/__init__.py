"""Reading and checking one FA(3) invoice. No I/O, no settings, no clock of its own.

The order of a check: `size` and `encoding` look at the bytes, `wellformed` parses them (once), `form` makes sure that
it is FA(3) (`other_forms` names what else it may be), `schema_check` holds it against the XSD and has `schema_messages` put
libxml2's words into plain ones, `reading` picks the few fields that later stages need, and `form`, `parties`, `dates`,
`totals` and `rates` apply the rules that the XSD cannot express. `checker` runs them; every rule stands in `rules`.

Most invoices take none of this way: `plain` recognises those without a fault in one match, with an expression that `grammar` and
`grammar_values` make of the official files. It never judges otherwise than the check (docs/decisions/0022-one-match.md).
"""

"""Document forms: reading and checking one document. No I/O, no settings, no clock; the schema files are passed in.

`registry` lists the forms, each with a folder: `fa3` is FA(3), the structured VAT invoice. `root_tag` reads a document's form from its
first bytes, `checker` chooses the checker of that form.

`full_check` is the order of a check, the same for all forms: `size` and `encoding` read the bytes, `wellformed` parses them once,
`header` compares the form's codes (`other_forms` names forms that are not sent), `xsd/schema_check` validates the document and
`xsd/schema_messages` words the errors. Every rule has a row in `rules`. `fields` has the facts that later stages need, `identity` the
bytes by which a duplicate is found.
"""

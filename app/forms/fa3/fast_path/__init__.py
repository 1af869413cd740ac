"""The fast path: a plain, faultless invoice is recognised by one regular expression.

`xsd_to_regex` and `simple_types` derive the expression from the official XSD; `recogniser` applies it. A document that it does not
recognise takes the full check.
"""

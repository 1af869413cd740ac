"""Document forms, one folder each. `fa3` is FA(3), the structured VAT invoice."""

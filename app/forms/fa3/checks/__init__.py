"""The checks of one invoice that the XSD cannot express, one module for each subject."""

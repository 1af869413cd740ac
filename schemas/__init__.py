"""Package data: the catalog of official schemas and our own JSON Schemas. The official XSD files are not here."""

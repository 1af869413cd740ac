"""The official XSD: compiled (`schema`), applied (`schema_check`), and its errors in plain words (`schema_messages`)."""

"""Reads the certificate and key files that people have, and checks that KSeF can take them."""

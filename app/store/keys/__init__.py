"""Keys of secrets at rest: the master key encrypts data keys, and a data key encrypts the secrets of the database.

The master key can be changed without encrypting any secret again.
"""

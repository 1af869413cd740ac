"""Checking documents in processes of their own: `pool` runs the processes, `check_chunk` is what runs in them.

A process reads, checks, hashes and compresses a whole chunk of documents a call. A document that ends or hangs its process is found
by halving its chunk and is rejected alone.
"""

"""Work of the pool processes: CPU work on one package or invoice, with plain values and files as input and output.

It imports neither the web application nor the sandbox's state, so that a pool process starts quickly and a package can be
checked without them.
"""

"""What runs in the pool: long work on one package, given and returned as plain values and files.

Nothing here knows the web application or the sandbox's state, so that a pool process starts quickly and a
package can be judged without either.
"""

"""Coverage-guided fuzzing of what reads strangers' bytes, and the seeds that keep what it found.

`python -m tests.fuzz.archives` and `python -m tests.fuzz.documents` run it (they need `atheris`); `test_fuzz_seeds`
replays the seeds through the same targets without it. `python -m tests.fuzz.make_seeds` writes the first seeds.
"""

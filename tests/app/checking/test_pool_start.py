"""The arguments of a new pool process, and the killing of one that has hardly begun."""

import pickle
from functools import partial
from pathlib import Path

from app.checking.service import CheckService
from app.schema_files import load_schema_files

_PIPE_BYTES = 4_096
"""What the smallest pipe of Linux holds; the usual one holds sixteen times as much."""


def test_what_a_new_process_is_given_fits_into_a_pipe_that_nobody_reads() -> None:
    # A process that is killed before it reads would otherwise leave the worker writing for ever.
    with CheckService(1, partial(load_schema_files, Path("/srv/schemas"))) as pool:
        context = pool._make(1)._context.worker_parameters
        assert len(pickle.dumps((context.initializer, context.initargs))) < _PIPE_BYTES // 4

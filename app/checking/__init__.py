"""The check service: checks documents in processes of its own, with one set of limits and findings for every door.

`service` runs the processes, `process_limits` bounds them, `check_chunk` and `check_documents` are the two kinds of work that run in
them, and `culprits` finds the documents that end or hang a process.
"""

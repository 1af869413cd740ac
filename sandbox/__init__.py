"""A strict KSeF stand-in in one process: develop, demonstrate and test against it instead of the ministry.

It reads a request the way KSeF is documented to read it and refuses everything else. It shares no checking code with the product, so
that two independent implementations judge each invoice.

    main, options   the command, and what can be set
    app             the table of endpoints and the ASGI application
    guard           what happens before any endpoint: token, limits, permission; `errors` are the refusals
    auth/           signed login documents, access and refresh tokens, KSeF certificates
    endpoints/      login, sessions, storage, results, receipts, certificates, tokens, test data
    processing/     a closed session on its way to its verdicts
    pool/           the long work of it, in other processes
    state/          everything that it remembers, and the file that keeps it
    control/        `/_sandbox/`: the accepted invoices, faults on demand, the clock
    answers/        every answer as a model, checked before it leaves
    recorder        `--record`: requests and answers without their secrets

`service` holds the running parts together; `clock`, `ids`, `keys` and `presigned_links` serve all of them.

Not promised: anything about the timing of the real system, and rules that KSeF does not publish.
"""

"""A strict simulator of KSeF in one process, for development, demonstrations and tests.

It accepts only requests that conform to KSeF's documentation. It shares no checking code with the product, so that two independent
implementations check each invoice.

    main, options   the command and its options
    app             the table of endpoints and the ASGI application
    guard           checks before every endpoint: token, limits, permissions; `errors` are the rejections
    auth/           signed login documents, access and refresh tokens, KSeF certificates
    endpoints/      login, sessions, storage, results, receipts, certificates, tokens, test data
    processing/     processing of closed sessions and online invoices
    pool/           its CPU work, in other processes
    state/          the state in memory, and the file that stores it
    control/        `/_sandbox/`: the accepted invoices, faults on demand, the clock
    answers/        models of all answers, checked before an answer is sent
    recorder        `--record`: requests and answers without their secrets

`service` contains the running parts; all rooms use `clock`, `ids`, `keys` and `presigned_links`.

The sandbox does not imitate the timing of the real system, nor rules that KSeF does not publish.
"""

"""A strict KSeF stand-in in one process: develop, demonstrate and test against it instead of the ministry.

It reads a request the way KSeF is documented to read it and refuses everything else. It shares no checking
code with the product: two independent opinions on one invoice are the point of having it.

The way of a package through the sandbox:

    options, main        what can be set; the server
    app                  the table of endpoints and the ASGI application
    gate                 what happens before any endpoint: token, limits, permission; and how refusals look
    login, signature     challenge, then a signed document or a KSeF token (auth_request reads the former)
    auth_sessions        status of a login, access and refresh tokens
    batch                open -> parts expected; close -> processing
    storage              PUT of encrypted parts and download of receipts by signed link
    processing           closed session -> work in the pool -> verdicts, receipt
    work/                what runs in the pool: unpack, check, receipt (pure functions on files)
    results              session status, invoice lists, receipts
    reference_data, ksef_tokens   limits, public keys, attachments; KSeF tokens
    control, faults      `/_sandbox/`: the ledger, faults on demand, the clock
    state                everything that it remembers, in one class

Not promised: anything about the timing of the real system, and rules that KSeF does not publish.
"""

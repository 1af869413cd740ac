"""A strict KSeF stand-in in one process: develop, demonstrate and test against it instead of the ministry.

It reads a request the way KSeF is documented to read it and refuses everything else. It shares no checking
code with the product: two independent opinions on one invoice are the point of having it.

The way of a package through the sandbox:

    options, main        what can be set; the server
    app                  the table of endpoints and the ASGI application
    gate                 what happens before any endpoint: token, limits, permission; and how refusals look
    login, signature     challenge, then a signed document or a KSeF token (auth_request reads the former)
    signature_algorithms, signature_transforms   what a signature may be made of
    auth_sessions        status of a login, access and refresh tokens
    certificates_enrollment, certificates_issuing   a request for a KSeF certificate, and the certificate
    certificates         those that were issued: found, handed out, revoked, logged in with
    batch                open -> parts expected; close -> processing
    storage              PUT of encrypted parts and download of receipts by signed link
    processing           closed session -> work in the pool -> verdicts, receipt
    work/                what runs in the pool: unpack, check, receipt (pure functions on files)
    online               open -> invoices one by one, technical corrections -> close
    online_processing    each of them judged on its own; the receipt after the close
    results, receipts    session status, invoice lists; receipts, and accepted invoices read back
    reference_data, ksef_tokens   limits, public keys, attachments; KSeF tokens
    testdata, testdata_limits   `/testdata/`: subjects, persons, permissions; limits (context_limits) of one's own
    control, faults      `/_sandbox/`: the ledger, faults on demand, the clock
    planned              `/_sandbox/outcomes`: logins and certificate requests that end as ordered
    answers, openapi     every answer as a model, checked before it leaves; the document made from these models
    recorder             `--record`: what was said, without secrets
    state                everything that it remembers, in one class

Not promised: anything about the timing of the real system, and rules that KSeF does not publish.
"""

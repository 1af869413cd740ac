"""The `ksefd` command.

    main            the command tree; a failure becomes one line and an exit code (`exit_codes`)
    commands/       arguments and help texts, one module a noun; loads nothing heavy, so that `ksefd --help` is quick
    actions/        what the commands do: on the database (`local_store` opens it), or on the service
    client/         the service over HTTP
    demo/           a run of the whole service against the KSeF sandbox, with checks of the results

`output` prints results on stdout and everything else on stderr; `tables` and `findings` lay them out, and `formats` has the one
form of times and numbers. `timestamps` reads times from arguments. `templates/` has the page of `validate --report`.
"""

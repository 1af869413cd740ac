"""The `ksefd` command.

Where things are:

    main            the command tree, and how a failure becomes one line and an exit code
    commands/       one module a noun: arguments and help texts only, so that `ksefd --help` loads nothing heavy
    accounts, login commands on the database (`local` opens it): tenants, keys, logging in to KSeF
    submit, status  commands that ask the service over HTTP (`service_client`)
    webhooks        webhooks and their deliveries, over HTTP too; `event_pull` follows events
    webhook_receiver, webhook_forward
                    `ksefd webhook listen`, which receives or pulls; `webhook_verify` judges signatures
    validate        the check on this machine (`checking`)
    demo/           the whole service beside a KSeF stand-in, watched and checked

A command prints results on stdout and everything else on stderr.
"""

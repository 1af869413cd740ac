"""The demo: a run of the service against the KSeF sandbox, from an empty folder to checked receipts.

processes    the sandbox and the service as child processes, stopped when the demo ends
invoices     the invoices to send: valid ones with bad ones among them, as one stream
receiver     a webhook consumer that verifies every delivery
watching     polls the progress of the service, the sessions and the receiver
checks       compares the invoices sent with the API, the UPOs, the sandbox's ledger and the webhooks
view         prints progress and results
run          runs all steps in order
"""

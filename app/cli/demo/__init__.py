"""The demo: the service beside a KSeF stand-in, from an empty folder to checked receipts.

processes    the stand-in and the service as child processes, ended with us
cargo        what is sent: valid invoices with bad ones among them, as one stream
receiver     a webhook consumer that verifies every delivery
watching     asking how far everything is
checks       what was sent against what every side says about it
view         progress and results for people
run          all of it in order
"""

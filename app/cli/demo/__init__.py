"""The demo: the service beside a KSeF stand-in, from an empty folder to checked receipts.

processes    the stand-in and the service as child processes, ended with the demo
invoices     what is sent: valid invoices with bad ones among them, as one stream
receiver     a webhook consumer that verifies every delivery
watching     the progress of every side, polled
checks       what was sent, compared with what every side reports
view         progress and results for people
run          all of it in order
"""

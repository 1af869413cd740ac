"""Do our checks and the sandbox's agree? Mutations of valid invoices, judged by both.

`python -m tests.agreement` judges 20,000 documents through a sandbox of its own and prints a table; `test_agreement`
is its small edition. What is stricter here on purpose stands in `comparing`.
"""

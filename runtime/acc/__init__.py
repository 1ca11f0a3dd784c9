"""Accounting: what is recorded of transactions and calls, and its way into the log, the events and the database."""

"""Dialogs of all processes: the store, the clock, the database and the requests of our own."""

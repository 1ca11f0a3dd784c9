"""`layby trace`: what every process of a server did, moment by moment, as a picture that one can zoom into.

`order.py` says what is to be recorded, and of which calls. In each process `recorder.py` writes it as the records of
`records.py` into a file of its own (`recording.py`), as the classes of `watching.py` tell it. `timeline.py` makes of
the files of all processes one list of events in the Trace Event Format (`events.py`), which ui.perfetto.dev and
chrome://tracing open; `summary.py` and `picture.py` read that. The guide is docs/tracing.md.
"""

"""The pools that `benchmarks/pools.py` compares, one small adapter each, and what it asks of them.

`registry.py` lists them; `adapter.py` is the interface; `rows_sync.py` and `rows_async.py` measure one row of one
peer; `run.py` is the process in which that happens; `launch.py` starts it, holds it to its time limit and ends
whatever it leaves; `report.py` makes tables and verdicts of what comes back.
"""

"""The calls, the operator and the server of `benchmarks/mi_under_load.py`, and what is read off them."""

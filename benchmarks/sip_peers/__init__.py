"""The servers that `benchmarks/sip.py` compares, the load they get, and what is read off them."""

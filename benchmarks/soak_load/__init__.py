"""The server, the traffic, the disturbances and the judgement of `benchmarks/soak.py`."""

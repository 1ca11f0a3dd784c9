"""The servers that `benchmarks/hot_path.py` compares, the loads they get, and what is read off them."""

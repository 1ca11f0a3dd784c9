"""The job of `layby demo`: offer traffic to a real server in each flavour of `mi()` and show what it does to others."""

"""The OpenSIPS routing language: grammar, tree, checks, and compilation to Python code."""

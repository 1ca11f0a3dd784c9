"""The script language a second time: programs as plain trees, a printer, and an interpreter that walks them.

It exists to disagree with `runtime.script`. So it shares nothing with it: it is written from the language's description
(OpenSIPS 3.6's behaviour), reads trees of its own, and is slow and obvious where the compiler is fast.
`tests/properties/test_script_differential.py` makes programs and holds the two against each other.
"""

"""The pool engine: jobs, dispatch, suspension, supervision. It knows no MI and no SIP."""

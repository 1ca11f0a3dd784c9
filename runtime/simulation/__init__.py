"""One simulated machine: the real processes and scripts on a virtual clock, and what is told of their runs."""

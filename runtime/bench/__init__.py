"""The job of `layby bench`: what a management command costs the traffic, called this way and that."""

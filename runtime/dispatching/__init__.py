"""Sets of destinations, which of them answer, and which one is next: what is behind the module dispatcher."""

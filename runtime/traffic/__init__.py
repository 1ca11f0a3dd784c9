"""Traffic for a server under test: what is offered, who sends it, the server, how latencies spread."""

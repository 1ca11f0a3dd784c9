"""What SIP travels over: sockets, connections, and who owns which."""

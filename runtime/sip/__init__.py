"""SIP messages and transactions (RFC 3261), as cores: no socket, no clock."""

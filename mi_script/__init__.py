"""The Management Interface: commands, JSON-RPC, `mi()` in its three flavours, transports. It knows no SIP."""

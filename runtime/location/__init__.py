"""Where users are: the bindings that REGISTER requests make (RFC 3261 section 10), and how they are found again."""

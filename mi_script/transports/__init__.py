"""How MI requests reach the runtime from outside: FIFO, datagram, HTTP."""

"""One file per OpenSIPS module name: the functions, variables, parameters and MI commands that it gives."""

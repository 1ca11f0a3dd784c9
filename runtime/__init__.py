"""layby's SIP runtime: processes, SIP, the script language and the modules that give it functions and commands."""

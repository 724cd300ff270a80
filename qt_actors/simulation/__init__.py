"""The whole trader in virtual time against the exchange inside the program: no socket, no thread, no wall clock."""

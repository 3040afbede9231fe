"""The files and variables a server needs, as pure functions of environment and tokens: no clock, no I/O."""

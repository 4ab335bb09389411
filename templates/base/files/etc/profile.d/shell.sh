# Programs that open a shell look here; a process started by the daemon has no
# login program that would have set it.
export SHELL=/bin/bash

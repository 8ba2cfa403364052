"""What the process returns to a script."""

OK = 0
DOMAIN_ERROR = 1  # what was asked for cannot be done; the message says why and what to do
USAGE_ERROR = 2  # the command line itself is wrong; also click's own code
UNRELIABLE = 3  # an evaluation finished, but its checks say that its numbers must not be used
NO_SERVICE = 4  # the service did not answer, or its job failed or was cancelled
INTERRUPTED = 130  # Ctrl-C, as shells have it

TABLE = (
    "Exit codes: 0 done; 1 it cannot be done (one message on stderr says why); 2 wrong usage; 3 the evaluation "
    "finished UNRELIABLE; 4 the service did not answer or its job failed; 130 interrupted."
)

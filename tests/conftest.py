"""What holds for all tests."""

import os
import signal

# Where each core has a process of its own, threads would only wait for each other; programs that tests start too.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts its background jobs with Ctrl-C ignored, and programs that such a job starts ignore it too; tests of
# what Ctrl-C does need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

"""What holds for all tests."""

import signal

# A shell starts its background jobs with Ctrl-C ignored, and programs that such a job starts ignore it too; tests of
# what Ctrl-C does need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

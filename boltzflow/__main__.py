"""Where the command `boltzflow`, or `python -m boltzflow`, begins."""

import sys

from boltzflow.process import let_waiting_threads_sleep


def main() -> None:
    """Make the settings that come before torch is loaded, then hand over to the command line."""
    let_waiting_threads_sleep()
    try:
        from boltzflow import cli
    except KeyboardInterrupt:  # loading takes seconds
        sys.exit("Interrupted.")
    cli.main()


if __name__ == "__main__":
    main()

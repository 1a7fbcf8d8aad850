"""Where the command `boltzflow`, or `python -m boltzflow`, begins."""

from boltzflow.process import let_waiting_threads_sleep


def main() -> None:
    """Make the settings that come before torch is loaded, then hand over to the command line."""
    let_waiting_threads_sleep()
    from boltzflow import cli

    cli.main()


if __name__ == "__main__":
    main()

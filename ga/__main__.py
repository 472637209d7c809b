"""``python -m ga``, and the command ``ga``."""


def run() -> None:
    """Run one command and exit with its status."""
    # Before any slow import, because Ctrl-C may come at any moment.
    from ga.cli.interrupts import Signals

    signals = Signals()

    import gc
    import sys

    from ga import environment
    from ga.cli import exit_status
    from ga.execution import forkserver

    signals.clean_up = forkserver.clean_up

    def command() -> int:
        """Load the engine and run the command."""
        exit_status.open_standard_streams()
        exit_status.watch_standard_streams()
        exit_status.check_folder()
        environment.own_cache()
        if sys.argv[1:2] in (["evolve"], ["resume"], ["compile"]):
            forkserver.start_forkserver()
        # Loaded modules stay to the end: a garbage collection of them takes a tenth of a second.
        gc.disable()
        from ga.cli.main import main

        gc.freeze()
        gc.enable()
        signals.end_in_order()
        return main()

    status = exit_status.status_of(command)
    signals.end_at_once()
    forkserver.end_children()
    sys.exit(status)


if __name__ == "__main__":
    run()

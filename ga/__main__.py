"""``python -m ga``."""

if __name__ == "__main__":
    # All imports are here, because worker processes load this file too, and need none of them.
    # Before all that takes time to load: Ctrl-C may come at any moment.
    from ga.signals import Signals

    signals = Signals()

    import gc
    import sys

    from ga import ending, environment, forks

    signals.clean_up = forks.clean_up

    def command() -> int:
        """Load the engine and run the command."""
        ending.open_standard_streams()
        ending.watch_standard_streams()
        ending.check_folder()
        environment.own_cache()
        if sys.argv[1:2] in (["evolve"], ["resume"], ["compile"]):
            forks.begin()
        # What is loaded stays to the end: to search it for garbage takes a tenth of a second.
        gc.disable()
        from ga.cli import main

        gc.freeze()
        gc.enable()
        signals.heeded()
        return main()

    status = ending.status_of(command)
    signals.ends_at_once()
    forks.end_children()
    sys.exit(status)

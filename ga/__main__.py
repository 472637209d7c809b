"""``python -m ga``."""

if __name__ == "__main__":
    # All imports are here, because worker processes load this file too, and need none of them.
    import gc
    import sys

    if sys.argv[1:2] in (["evolve"], ["resume"]):
        from ga import forks

        forks.begin()
    # What is loaded stays to the end: to search it for garbage takes a tenth of a second.
    gc.disable()
    from ga.cli import main

    gc.freeze()
    gc.enable()
    sys.exit(main())

"""``python -m ga``."""

if __name__ == "__main__":
    # All imports are here, because worker processes load this file too, and need none of them.
    import sys

    if sys.argv[1:2] in (["evolve"], ["resume"]):
        from ga import forks

        forks.begin()
    from ga.cli import main

    sys.exit(main())

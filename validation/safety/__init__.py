"""Safety of a deployed target: consent to faults, the guard that stops them, and their undo."""

"""Programs that the gate runs inside a node or a network namespace."""

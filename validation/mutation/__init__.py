"""Mutation tests of the gate: planted defects that a criterion must detect."""

"""The gate: judges the cluster from recorded evidence, GO, NO-GO or INCONCLUSIVE for Phase 2."""

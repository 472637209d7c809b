"""What a workload needs: nodes, time and dollars, from costs that were measured."""

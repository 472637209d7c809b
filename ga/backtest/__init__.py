"""Back-testing: target positions to fills, costs and performance, by compiled kernels."""

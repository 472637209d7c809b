"""Vector instructions for kernels."""

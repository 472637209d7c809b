"""The HTTP service: accepts evolutions, has them evolved by child processes, and tells of them."""

"""Operation of the production stack: Docker Compose, secrets, ports and preflight checks."""

"""Developer tools: dashboards, screenshots, the architecture diagram."""

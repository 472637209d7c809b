"""Developer tools: dashboards, screenshots, the architecture picture."""

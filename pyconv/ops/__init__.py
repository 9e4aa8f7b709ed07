"""Arguments to problem to plan to run: one module a family of operations."""

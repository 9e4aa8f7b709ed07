"""Arrays to kernels: one module a backend, each listing its algorithms."""

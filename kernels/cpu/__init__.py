"""The Numba kernels of the CPU; one file for each algorithm, named like the C files of csrc/."""

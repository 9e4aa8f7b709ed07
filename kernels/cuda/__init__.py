"""Kernels for NVIDIA GPUs. Undecorated functions made by factories, so that an emulator can run the same ones."""

#: Threads of a block whose threads have nothing in common.
THREADS = 128
#: Boxes whose marks fit 16 KB of shared memory.
MOST_BOXES = 65536

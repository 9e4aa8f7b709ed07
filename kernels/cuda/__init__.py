"""Kernels for NVIDIA GPUs. Undecorated functions made by factories, so that an emulator can run the same ones."""

#: Threads of a block whose threads have nothing in common.
THREADS = 128
#: Boxes whose marks fit 16 KB of shared memory.
MOST_BOXES = 65536
#: Lengths of transforms along an axis: products of 8 and 4; 1 is an axis that is not transformed.
FFT_LENGTHS = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

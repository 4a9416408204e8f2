"""Kernels for NVIDIA GPUs: Numba CUDA and, technique by technique, the same in CUDA C."""

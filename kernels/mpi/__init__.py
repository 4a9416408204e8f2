"""Kernels for many processes, on one machine or several, over MPI."""

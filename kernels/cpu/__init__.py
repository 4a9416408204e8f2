"""Kernels for the CPU: each file holds one ``product(a, b, c)``, called through `kernels.contract`."""

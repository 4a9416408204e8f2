"""CUDA C of the recurrent network: kernels that do more than one operation a launch."""

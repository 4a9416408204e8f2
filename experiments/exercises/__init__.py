"""Ten exercises in writing CUDA kernels, checked on the recorder: no GPU needed."""

"""Histogram: how often does each digit occur among n? counts (10,) begins at zero.

NumPy: counts[:] = np.bincount(digits, minlength=10)
Launch: blocks of 32 threads, as many as cover n; all of them add to the same ten numbers.
Target: no update is lost; one atomic update for each digit. cuda.atomic.add(array, index, number) is one.
"""

from numba import cuda

EXERCISE = "histogram"


@cuda.jit
def kernel(digits, counts):
    i = cuda.grid(1)
    if i < digits.shape[0]:
        counts[digits[i]] += 1  # your part: two threads may read the same old number

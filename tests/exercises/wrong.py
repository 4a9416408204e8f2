"""Plausible wrong answers, as edits of the solutions: (old text, new text, kind of failure, words of what is said)."""

Wrong = tuple[str, str, str, str]

_BOTH_TILES = (
    ("        cuda.syncthreads()  # filled\n", "", "race", "no barrier lies between"),
    ("        cuda.syncthreads()  # read\n", "", "race", "tile"),
    (
        "    total = float32(0)\n",
        "    total = float32(0)\n    if i >= c.shape[0] or j >= c.shape[1]:\n        return\n",
        "missed barrier",
        "returned",
    ),
    (
        "        cuda.syncthreads()  # filled\n",
        "        if i < c.shape[0]:\n            cuda.syncthreads()\n        else:\n            cuda.syncthreads()\n",
        "divergent barrier",
        "wait at line",
    ),
    ("total += a_tile[y, k] * b_tile[k, x]", "total += a_tile[y, k] * b_tile[x, k]", "wrong", "results are wrong"),
    (" if start + y < b.shape[0] and j < b.shape[1] else float32(0)", "", "out of bounds", "reads b["),
    (
        "total += a_tile[y, k] * b_tile[k, x]",
        "total += a[i, start + k] * b_tile[k, x]",
        "target",
        "fetches one number of a",
    ),
    (
        "            total += a_tile[y, k] * b_tile[k, x]",
        "            if i < a.shape[0] and start + k < a.shape[1]:\n"
        "                total += a[i, start + k] * b_tile[k, x]",
        "target",
        "fetches one number of a and one of b",
    ),
    (
        "    if i < c.shape[0] and j",
        "    total += 0 * a[0, 0]\n    if i < c.shape[0] and j",
        "target",
        "3 times for 1 tiles",
    ),
)

WRONG: dict[str, tuple[Wrong, ...]] = {
    "one_thread_per_element": (
        ("    if i < x.shape[0]:\n", "    if i >= 0:\n", "out of bounds", "which threads have none?"),
        ("i < x.shape[0]", "i <= x.shape[0]", "out of bounds", "outside its shape"),
        ("i < x.shape[0]", "i < x.shape[0] - 1", "unwritten", "nothing was ever stored"),
        ("cuda.grid(1)", "cuda.threadIdx.x", "race between blocks", "blocks are never ordered"),
        ("value * value", "value + value", "wrong", "results are wrong"),
        ("y[i] = value * value", "y[i] = x[i] * x[i]", "target", "local variable"),
        ("y[i] = value * value", "x[i] = value * value\n        y[i] = x[i]", "changed", "inputs"),
        ("i = cuda.grid(1)", "i = cuda.grid(1) - 1", "negative index", "somebody else's memory"),
    ),
    "one_thread_per_result": (
        ("j, i = cuda.grid(2)", "i, j = cuda.grid(2)", "unwritten", "nothing was ever stored"),
        ("if i < c.shape[0] and j < c.shape[1]:", "if i < c.shape[0]:", "out of bounds", "beyond the edge"),
        ("range(a.shape[1])", "range(8)", "wrong", "(9,13)·(13,7)"),
        ("b[k, j]", "b[j, k]", "wrong", "results are wrong"),
        ("a[i, k] * b[k, j]", "a[i, k] + b[k, j]", "wrong", "row i of a times column j"),
        (
            "            total += a[i, k] * b[k, j]\n        c[i, j] = total",
            "            total += a[i, k] * b[k, j]\n            c[i, j] = total",
            "target",
            "store it once at the end",
        ),
        ("total += a[i, k] * b[k, j]", "total += a[i, k] * b[k, j] + 0 * a[i, 0]", "target", "a row of a"),
    ),
    "coalesce": (
        (
            "    j, i = cuda.grid(2)\n",
            "    i = cuda.blockIdx.y * 4 + cuda.threadIdx.x % 4\n"
            "    j = cuda.blockIdx.x * 32 + 4 * (cuda.threadIdx.x // 4) + cuda.threadIdx.y\n",
            "target",
            "neighbours in memory",
        ),
        ("b[k, j]", "b[k, i]", "wrong", "results are wrong"),
        ("j, i = cuda.grid(2)", "i, j = cuda.grid(2)", "target", "sectors of a"),
        ("if i < c.shape[0] and j < c.shape[1]:", "if i < c.shape[0]:", "out of bounds", "beyond the edge"),
        ("if i < c.shape[0] and j < c.shape[1]:", "if j < c.shape[1]:", "out of bounds", "beyond the edge"),
        ("range(a.shape[1])", "range(1, a.shape[1])", "wrong", "results are wrong"),
        (
            "        total = float32(0)\n",
            "        j = (j + 1) % c.shape[1]\n        total = float32(0)\n",
            "target",
            "a warp touches 5 sectors",
        ),
    ),
    "grid_stride": (
        ("x.shape[0], cuda.gridsize(1)", "x.shape[0], 32", "race between blocks", "blocks are never ordered"),
        ("range(cuda.grid(1), x.shape[0], cuda.gridsize(1))", "range(cuda.grid(1), 64)", "race", "one of them writes"),
        (
            "range(cuda.grid(1), x.shape[0], cuda.gridsize(1))",
            "(cuda.grid(1),)",
            "out of bounds",
            "thread 1 of block 0",
        ),
        ("range(cuda.grid(1), x.shape[0]", "range(cuda.grid(1), x.shape[0] + 1", "out of bounds", "outside its shape"),
        (
            "range(cuda.grid(1), x.shape[0]",
            "range(cuda.grid(1), x.shape[0] - 1",
            "unwritten",
            "the grid has 64 threads",
        ),
        (
            "    for i in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):\n",
            "    each = (x.shape[0] + 63) // 64\n"
            "    first = cuda.grid(1) * each\n"
            "    for i in range(first, min(first + each, x.shape[0])):\n",
            "target",
            "one thread reads",
        ),
        (
            "    for i in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):\n",
            "    i = cuda.grid(1)\n    while i < x.shape[0]:\n",
            "endless",
            "what makes it stop",
        ),
        ("y[i] = value * value", "y[i] = x[i] * x[i]", "target", "local variable"),
    ),
    "histogram": (
        (
            "cuda.atomic.add(counts, digits[i], 1)",
            "counts[digits[i]] += 1",
            "race",
            "another thread may come in between",
        ),
        ("cuda.atomic.add(counts, digits[i], 1)", "counts[digits[i]] = 1", "race", "one of them writes"),
        ("    if i < digits.shape[0]:\n", "    if i >= 0:\n", "out of bounds", "reads digits["),
        ("digits[i], 1)", "i % 10, 1)", "wrong", "results are wrong"),
        ("digits[i], 1)", "digits[i] + 1, 1)", "out of bounds", "updates counts["),
        (
            "digits[i], 1)",
            "digits[i], 1)\n        cuda.atomic.add(counts, digits[i], 0)",
            "target",
            "one for each digit",
        ),
    ),
    "shared_tile": _BOTH_TILES,
    "transpose": (
        ("SIDE + 1", "SIDE", "target", "in which bank"),
        ("SIDE + 1", "SIDE + 2", "target", "need 2 turns"),
        ("    cuda.syncthreads()\n", "", "race", "one of them writes"),
        (
            "    if left + row < y.shape[0] and top + column < y.shape[1]:\n"
            "        y[left + row, top + column] = tile[column, row]\n",
            "    if top + row < x.shape[0] and left + column < x.shape[1]:\n"
            "        y[left + column, top + row] = tile[row, column]\n",
            "target",
            "sectors of y",
        ),
        ("y[left + row, top + column]", "y[top + row, left + column]", "out of bounds", "writes y["),
        ("tile[column, row]", "tile[row, column]", "wrong", "results are wrong"),
        (
            "    if left + row < y.shape[0] and top + column < y.shape[1]:\n",
            "    if True:\n",
            "out of bounds",
            "beyond",
        ),
        (
            "        tile[row, column] = x[top + row, left + column]\n    cuda.syncthreads()\n",
            "        tile[row, column] = x[top + row, left + column]\n        cuda.syncthreads()\n",
            "missed barrier",
            "who has left",
        ),
    ),
    "register_tile": (
        ("            b_kj = b[k, j]\n", "", "error", "b_kj"),
        (
            "            b_kj = b[k, j]\n            for r in range(ROWS):\n",
            "            for r in range(min(ROWS, c.shape[0] - first)):\n                b_kj = b[k, j]\n",
            "target",
            "keep it in a variable",
        ),
        (
            "                if first + r < c.shape[0]:\n                    totals",
            "                if True:\n                    totals",
            "out of bounds",
            "reads a[",
        ),
        (
            "            if first + r < c.shape[0]:\n                c[",
            "            if True:\n                c[",
            "out of bounds",
            "writes c[",
        ),
        ("        totals[r] = 0\n", "        pass\n", "uninitialised read", "reads totals"),
        ("cuda.grid(2)[1] * ROWS", "cuda.grid(2)[1]", "race", "one of them writes"),
        ("range(a.shape[1])", "range(8)", "wrong", "(9,13)·(13,7)"),
    ),
    "double_buffer": (
        ("now = start // TILE % 2", "now = 0", "race", "a_tiles"),
        ("        cuda.syncthreads()\n", "", "race", "no barrier lies between"),
        (
            "total += a_tiles[now, y, k] * b_tiles[now, k, x]\n",
            "total += a_tiles[now, y, k] * b_tiles[now, k, x]\n        cuda.syncthreads()\n",
            "target",
            "which of the two barriers",
        ),
        (
            "    if i < c.shape[0] and j",
            "    cuda.syncthreads()\n    cuda.syncthreads()\n    if i < c.shape[0] and j",
            "target",
            "3 barriers for 1 tiles",
        ),
        ("b_tiles[now, k, x]", "b_tiles[1 - now, k, x]", "uninitialised read", "b_tiles"),
        ("a_tiles[now, y, k] *", "a_tiles[now, k, y] *", "wrong", "results are wrong"),
        ("now = start // TILE % 2", "now = start // TILE", "out of bounds", "(16,20)·(20,17)"),
        (" if start + y < b.shape[0] and j < b.shape[1] else float32(0)", "", "out of bounds", "reads b["),
    ),
    "reduce_with_shuffles": (
        ("    cuda.syncthreads()\n", "", "race", "of_warp"),
        ("distance = 16", "distance = 8", "wrong", "results are wrong"),
        ("range(thread, x.shape[0], 64)", "range(thread, x.shape[0], 32)", "wrong", "results are wrong"),
        ("range(thread, x.shape[0], 64)", "range(x.shape[0])", "wrong", "results are wrong"),
        ("    if thread % 32 == 0:\n", "    if True:\n", "race", "of_warp"),
        (
            "    if thread == 0:\n        total[0] = of_warp[0] + of_warp[1]\n",
            "    if thread % 32 == 0:\n        total[0] += own\n",
            "race",
            "total",
        ),
        (
            "    if thread == 0:\n        total[0] = of_warp[0] + of_warp[1]\n",
            "    if thread % 32 == 0:\n        cuda.atomic.add(total, 0, of_warp[thread // 32])\n",
            "target",
            "shuffles let a warp",
        ),
        (
            "        total[0] = of_warp[0] + of_warp[1]\n",
            "        of_warp[0] += of_warp[1]\n        total[0] = of_warp[0]\n",
            "target",
            "writes shared memory 3 times",
        ),
        (
            "    distance = 16\n",
            "    if thread % 32 > 15:\n        return\n    distance = 16\n",
            "missed barrier",
            "returned",
        ),
    ),
}

"""How an array may lie in memory: each function gives the same numbers laid out anew."""

import numpy as np

_ANY_RANK = {
    "F": np.asfortranarray,
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
}

# (n, k)
ROWS = _ANY_RANK | {
    "rows reversed": lambda a: a[::-1].copy()[::-1],
    "columns reversed": lambda a: a[:, ::-1].copy()[:, ::-1],
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "every third": lambda a: np.repeat(np.repeat(a, 3, axis=0), 2, axis=1)[::3, ::2],
    "swapped F": lambda a: np.asfortranarray(a.astype(a.dtype.newbyteorder())),
}

# (t, n, k)
STACKS = _ANY_RANK | {
    "tables last": lambda a: np.ascontiguousarray(a.transpose(1, 2, 0)).transpose(2, 0, 1),
    "reversed": lambda a: a[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "every third": lambda a: np.repeat(np.repeat(a, 3, axis=0), 2, axis=2)[::3, :, ::2],
}

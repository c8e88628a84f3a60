"""MurmurHash3, the 32-bit variant for x86, in plain Python."""

_MASK = 0xFFFFFFFF
_C1, _C2 = 0xCC9E2D51, 0x1B873593


def murmur3(key: bytes, seed: int = 0) -> int:
    """Return the hash of `key` as an unsigned 32-bit number."""
    size = len(key)
    h = seed
    whole = size & ~3
    for start in range(0, whole, 4):
        h ^= _scramble(int.from_bytes(key[start : start + 4], "little"))
        h = (h << 13 | h >> 19) & _MASK
        h = (h * 5 + 0xE6546B64) & _MASK
    if size > whole:
        h ^= _scramble(int.from_bytes(key[whole:], "little"))
    h ^= size
    h ^= h >> 16
    h = (h * 0x85EBCA6B) & _MASK
    h ^= h >> 13
    h = (h * 0xC2B2AE35) & _MASK
    return h ^ h >> 16


def _scramble(k: int) -> int:
    k = (k * _C1) & _MASK
    k = (k << 15 | k >> 17) & _MASK
    return (k * _C2) & _MASK

"""CityHash64 in its first version, by which CatBoost tells categories apart."""

import struct

_K0, _K1 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273
_K2, _K3 = 0x9AE16A3B2F90404F, 0xC949D7C7509E6557
_MIX = 0x9DDFEA08EB382D69
_MASK = (1 << 64) - 1


def category(text: str) -> int:
    """Return CatBoost's number of a category: the low half of its hash, as a signed integer."""
    low = city_hash(text.encode()) & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def city_hash(data: bytes) -> int:
    """Return the 64-bit hash of some bytes."""
    size = len(data)
    if size <= 16:
        return _upto_16(data, size)
    if size <= 32:
        return _upto_32(data, size)
    if size <= 64:
        return _upto_64(data, size)
    x = _at(data, 0)
    y = _at(data, size - 16) ^ _K1
    z = _at(data, size - 56) ^ _K0
    v = _pair(data, size - 64, size, y)
    w = _pair(data, size - 32, size * _K1 & _MASK, _K0)
    z = (z + _shift_mix(v[1]) * _K1) & _MASK
    x = _turn(z + x, 39) * _K1 & _MASK
    y = _turn(y, 33) * _K1 & _MASK
    for s in range(0, (size - 1) & ~63, 64):
        x = _turn(x + y + v[0] + _at(data, s + 16), 37) * _K1 & _MASK
        y = _turn(y + v[1] + _at(data, s + 48), 42) * _K1 & _MASK
        x, y = x ^ w[1], y ^ v[0]
        z = _turn(z ^ w[0], 33)
        v = _pair(data, s, v[1] * _K1 & _MASK, x + w[0])
        w = _pair(data, s + 32, z + w[1], y)
        z, x = x, z
    first = _join(v[0], w[0]) + _shift_mix(y) * _K1 + z
    return _join(first & _MASK, (_join(v[1], w[1]) + x) & _MASK)


def _upto_16(data: bytes, size: int) -> int:
    if size > 8:
        a, b = _at(data, 0), _at(data, size - 8)
        return _join(a, _turn(b + size, size)) ^ b
    if size >= 4:
        first, last = struct.unpack_from("<I", data)[0], struct.unpack_from("<I", data, size - 4)[0]
        return _join(size + (first << 3), last)
    if size > 0:
        y = data[0] + (data[size >> 1] << 8)
        z = size + (data[-1] << 2)
        return _shift_mix(y * _K2 & _MASK ^ z * _K3 & _MASK) * _K2 & _MASK
    return _K2


def _upto_32(data: bytes, size: int) -> int:
    a, b = _at(data, 0) * _K1, _at(data, 8)
    c, d = _at(data, size - 8) * _K2, _at(data, size - 16) * _K0
    first = _turn(a - b, 43) + _turn(c, 30) + d
    return _join(first & _MASK, (a + _turn(b ^ _K3, 20) - c + size) & _MASK)


def _upto_64(data: bytes, size: int) -> int:
    def half(start: int, seed: int, z: int) -> tuple[int, int]:
        a = _at(data, start) + seed
        b, c = _turn(a + z, 52), _turn(a, 37)
        a += _at(data, start + 8)
        c += _turn(a, 7)
        a += _at(data, start + 16)
        return (a + z) & _MASK, (b + _turn(a, 31) + c) & _MASK

    v = half(0, (size + _at(data, size - 16)) * _K0, _at(data, 24))
    # The second half starts from the third word of the first one.
    a = _at(data, 16) + _at(data, size - 32)
    z = _at(data, size - 8)
    b, c = _turn(a + z, 52), _turn(a, 37)
    a += _at(data, size - 24)
    c += _turn(a, 7)
    a += _at(data, size - 16)
    w = (a + z) & _MASK, (b + _turn(a, 31) + c) & _MASK
    r = _shift_mix(((v[0] + w[1]) * _K2 + (w[0] + v[1]) * _K0) & _MASK)
    return _shift_mix((r * _K0 + v[1]) & _MASK) * _K2 & _MASK


def _pair(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = struct.unpack_from("<4Q", data, at)
    a += w
    b = _turn(b + a + z, 21)
    c = a
    a += x + y
    return (a + z) & _MASK, (b + _turn(a, 44) + c) & _MASK


def _join(u: int, v: int) -> int:
    a = (u ^ v) * _MIX & _MASK
    a ^= a >> 47
    b = (v ^ a) * _MIX & _MASK
    return (b ^ b >> 47) * _MIX & _MASK


def _shift_mix(value: int) -> int:
    return value ^ value >> 47


def _turn(value: int, by: int) -> int:
    value &= _MASK
    return (value >> by | value << (64 - by)) & _MASK


def _at(data: bytes, at: int) -> int:
    word: int = struct.unpack_from("<Q", data, at)[0]
    return word

"""Discrete Fourier transforms, by their definition."""

import numpy as np
from flint import acb

from precjax._judge.complex_numbers import root_of_unity
from precjax._judge.number import as_complex, lift
from precjax._judge.table import COMPLEX, rule

FFT, IFFT, RFFT, IRFFT = range(4)


@rule("fft", table=COMPLEX)
def fft(x, *, fft_type, fft_lengths, **params):
    """Over the last axes; of a real transform the last axis holds, or takes, the first half of the spectrum."""
    kind, axes = int(fft_type), range(x.ndim - len(fft_lengths), x.ndim)
    z = np.frompyfunc(as_complex, 1, 1)(lift(x))
    sign = -1 if kind in (FFT, RFFT) else 1
    for axis in axes[:-1] if kind == IRFFT else axes:
        z = _transformed(z, axis, sign)
    if kind == IRFFT:
        n = fft_lengths[-1]
        z = _transformed(_mirrored(z, n), axes[-1], sign)
        return np.frompyfunc(lambda number: number.real, 1, 1)(z)
    return z[..., : fft_lengths[-1] // 2 + 1] if kind == RFFT else z


def _transformed(z, axis, sign):
    rows = np.moveaxis(z, axis, -1)
    n = rows.shape[-1]
    matrix = np.array([[root_of_unity(n, sign * j * k) for k in range(n)] for j in range(n)], dtype=object)
    result = np.empty(rows.shape, dtype=object)
    for place in np.ndindex(rows.shape[:-1]):
        result[place] = matrix @ rows[place]
    return np.moveaxis(result if sign < 0 else result / n, -1, axis)


def _mirrored(z, n):
    """The whole spectrum of a real signal: an imaginary part that such a spectrum cannot have is ignored."""
    whole = np.empty((*z.shape[:-1], n), dtype=object)
    for place in np.ndindex(z.shape[:-1]):
        for k in range(n):
            own = z[place][k] if k <= n // 2 else z[place][n - k].conjugate()
            whole[place][k] = acb(own.real) if 2 * k in (0, n) else own
    return whole

"""Complex numbers in order: by real parts, and by imaginary parts where those are equal. All are finite."""

import numpy as np
from flint import acb

from precjax._judge.decision import sort as sort_by_real_keys
from precjax._judge.number import as_complex, compare, lift
from precjax._judge.table import COMPLEX, defelementwise, rule


def _order(a, b):
    a, b = as_complex(a), as_complex(b)
    return compare(a.real, b.real) or compare(a.imag, b.imag)


def _larger(a, b):
    return a if _order(a, b) > 0 else b


def _smaller(a, b):
    return a if _order(a, b) < 0 else b


for _name, _choice in {"max": _larger, "min": _smaller}.items():
    defelementwise(_name, _choice, 2, COMPLEX)
    _fold = np.frompyfunc(_choice, 2, 1)

    @rule(f"reduce_{_name}", table=COMPLEX)
    def _reduced(x, *, axes, fold=_fold, **params):
        # Without an identity, numpy folds one axis at a time.
        for axis in sorted(axes, reverse=True):
            x = np.asarray(fold.reduce(lift(x), axis=axis), dtype=object)
        return x


@rule("sort", table=COMPLEX)
def sort(*operands, dimension, num_keys, **params):
    """A complex key is two real ones."""
    keys = []
    for key in operands[:num_keys]:
        keys += [COMPLEX["real"](key), COMPLEX["imag"](key)] if _is_complex(key) else [key]
    results = sort_by_real_keys(*keys, *operands, dimension=dimension, num_keys=len(keys))
    return results[len(keys) :]


def _is_complex(key):
    return key.dtype == object and any(type(x) is acb for x in key.flat)

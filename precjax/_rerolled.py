"""Loop rerolling: equal blocks that follow one another become one loop.

A network whose layers a Python loop writes out is as many copies of a block as it has layers. What tracking makes of
each equation is many times as large, and XLA takes as long as its program is. A loop over the layers is compiled once,
at any depth. It is the same function: the block's own equations, in their order, on what each copy reads.

What a block reads is its own, or what the block before it made (a carry), or from outside: the same for all blocks, or
another array for each, then chosen by a switch on the number of the turn, which copies the weights of one block at a
time. Later equations read nothing but what the last block hands on: a backward pass would want all that the forward
pass has made in one stack, from which XLA copies more than is saved. Only blocks with a product of matrices are worth
it: others are better off as one fused kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat

_FEWEST, _SMALLEST = 3, 24  # blocks in a row; equations of a block
PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})
_TRIES = 4  # stretches of equations that are tried before a program is left as it is


def rerolled(body: Any) -> Any:
    """The same open jaxpr with loops in place of equal blocks.

    Args:
        body: an open jaxpr; those inside its equations stay as they are.

    Returns:
        An open jaxpr of the same function: the same one, if there are no such blocks.
    """
    for blocks in _candidates(body):
        reads = _reads(body, blocks)
        if reads is not None:
            loop = _loop(body.eqns[blocks.start : blocks.end], blocks, reads)
            return rerolled(body.replace(eqns=[*body.eqns[: blocks.start], loop, *body.eqns[blocks.end :]]))
    return body


# Where the blocks are.


class _Blocks(NamedTuple):
    """Equations start + turn * period + j are the same, but for what they read, for every turn."""

    start: int
    period: int
    turns: int

    @property
    def end(self) -> int:
        """What follows the last one."""
        return self.start + self.turns * self.period


def _candidates(body: Any) -> list[_Blocks]:
    """The most promising blocks; of equal ones the shortest."""
    names = [[e.primitive.name for e in within(eqn)] for eqn in body.eqns]
    total = np.cumsum([0, *map(len, names)])
    if total[-1] < _FEWEST * _SMALLEST:
        return []
    products = np.cumsum([0, *(not PRODUCTS.isdisjoint(x) for x in names)])
    forms = _Forms()
    numbers = np.array([forms.number(eqn) for eqn in body.eqns])
    found = []
    for period in range(1, len(numbers) // _FEWEST + 1):
        for start, length in _stretches(numbers[:-period] == numbers[period:]):
            size = total[start + period] - total[start]
            if length // period + 1 >= _FEWEST and size >= _SMALLEST and products[start + period] > products[start]:
                found.append((length // period * size, -period, start, length))
    lasts = _last_reads(body)
    best = sorted(found, reverse=True)[:_TRIES]
    return [_cut(body.eqns, lasts, int(start), -period, int(length)) for _, period, start, length in best]


def within(eqn: Any) -> Iterator[Any]:
    """The equation and all inside it."""
    yield eqn
    for inner in compat.inner_jaxprs(eqn):
        yield from compat.equations(inner)


def _stretches(equal: np.ndarray) -> Iterator[tuple[int, int]]:
    """(start, length) of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], equal, [False]])))
    yield from zip(edges[::2], edges[1::2] - edges[::2], strict=True)


def _last_reads(body: Any) -> dict[Any, int]:
    lasts = {atom: i for i, eqn in enumerate(body.eqns) for atom in eqn.invars if not compat.is_literal(atom)}
    return lasts | {atom: len(body.eqns) for atom in body.outvars if not compat.is_literal(atom)}


def _cut(eqns: Sequence[Any], lasts: dict[Any, int], start: int, period: int, length: int) -> _Blocks:
    """Where in a stretch that repeats itself blocks begin: where the fewest variables go from one to the next.

    One of them may be left out for that.
    """
    turns, slack = length // period + 1, length % period
    first = start + period  # of where the second block may begin
    edges = np.zeros(period + 2, int)
    for i in range(start, first + period):
        for var in eqns[i].outvars:
            low, high = max(i + 1, first), min(lasts.get(var, 0), i + period, first + period)
            if low <= high:
                edges[[low - first, high - first + 1]] += [1, -1]
    crossing = np.cumsum(edges)
    shifts = range(period if turns > _FEWEST else slack + 1)
    best = min(shifts, key=lambda shift: (crossing[shift], shift))
    return _Blocks(start + best, period, turns - (best > slack))


class _Forms:
    """Equal numbers for equations that do the same, up to the names of variables and the values of literals."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._jaxprs: dict[int, tuple[Any, int]] = {}  # by id, with the object, so that the id stays its own

    def number(self, eqn: Any) -> int:
        """Of an equation at the top: one with effects is like no other."""
        form = id(eqn) if compat.effects(eqn) else (self._equation(eqn), _avals(eqn.invars))
        return self._numbers.setdefault(form, len(self._numbers))

    def _equation(self, eqn: Any) -> Any:
        # A rule for derivatives is a new object at every call: the source and the body of its function stand for it.
        own = eqn.primitive.name.startswith("custom_")
        params = sorted((k, v) for k, v in eqn.params.items() if not (own and callable(v)))
        return eqn.primitive.name, tuple((k, self._param(v)) for k, v in params), _avals(eqn.outvars)

    def _param(self, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return tuple(map(self._param, value))
        if isinstance(value, float):
            return repr(value)  # 0.0 == -0.0
        if hasattr(value, "eqns"):
            return self._jaxpr(value)
        try:
            hash(value)
        except TypeError:
            return "object", id(value)
        return type(value), value

    def _jaxpr(self, jaxpr: Any) -> Any:
        body = compat.open_jaxpr(jaxpr)
        if id(body) not in self._jaxprs:
            form = _structure(body, self._equation)
            self._jaxprs[id(body)] = body, self._numbers.setdefault(form, len(self._numbers))
        return self._jaxprs[id(body)][1], tuple(map(id, compat.constants(jaxpr)))


def _structure(body: Any, form: Callable[[Any], Any]) -> Any:
    """What an inner jaxpr does, literals and all; equal only where it does the same."""
    numbers: dict[Any, int] = {}

    def atom(x: Any) -> Any:
        return _name(x) if compat.is_literal(x) else (numbers.setdefault(x, len(numbers)), x.aval)

    inputs = [atom(v) for v in (*body.constvars, *body.invars)]
    steps = [(form(e), tuple(map(atom, e.invars)), tuple(map(atom, e.outvars))) for e in body.eqns]
    return body.debug_info.func_src_info, tuple(inputs), tuple(steps), tuple(map(atom, body.outvars))


def _avals(atoms: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(atom.aval for atom in atoms)


def _name(atom: Any) -> Any:
    """Equal for atoms that are the same."""
    return (np.asarray(atom.val).tobytes(), atom.aval) if compat.is_literal(atom) else atom


# What they read.


class _Own(NamedTuple):
    """Result `k` of equation `j` of the block, in this turn."""

    j: int
    k: int


class _Carry(NamedTuple):
    """That of the turn before; at first an atom from outside."""

    own: _Own
    first: Any


class _Outside(NamedTuple):
    """Atoms from outside, one for each turn, or one for all."""

    atoms: tuple[Any, ...]

    @property
    def name(self) -> Any:
        """Equal where the atoms are the same."""
        return tuple(map(_name, self.atoms))


def _reads(body: Any, blocks: _Blocks) -> list[list[Any]] | None:
    """What every operand of every equation of a block is; None if anything else goes from block to block, or on."""
    start, period, turns = blocks
    made = {
        var: (i // period, _Own(i % period, k))
        for i, eqn in enumerate(body.eqns[start : blocks.end])
        for k, var in enumerate(eqn.outvars)
    }
    firsts: dict[_Own, Any] = {}

    def kind(atoms: tuple[Any, ...]) -> Any:
        places = [made.get(_name(atom)) for atom in atoms]
        last = places[-1]
        if last is None:
            if any(places):
                return None
            return _Outside(atoms[:1] if len(set(map(_name, atoms))) == 1 else atoms)
        own = last[1]
        if places == [(t, own) for t in range(turns)]:
            return own
        first = firsts.setdefault(own, atoms[0])
        carried = places == [None, *((t, own) for t in range(turns - 1))] and _name(first) == _name(atoms[0])
        return _Carry(own, first) if carried else None

    copies = [body.eqns[start + t * period : start + (t + 1) * period] for t in range(turns)]
    operands = [zip(*(eqn.invars for eqn in same), strict=True) for same in zip(*copies, strict=True)]
    reads = [list(map(kind, atoms)) for atoms in operands]
    later = {made[var] for var, last in _last_reads(body).items() if var in made and last >= blocks.end}
    only = later <= {(turns - 1, own) for own in firsts}
    return reads if only and all(kind is not None for block in reads for kind in block) else None


# The loop.


def _loop(eqns: Sequence[Any], blocks: _Blocks, reads: list[list[Any]]) -> Any:
    """The equation that takes the place of the blocks."""
    block, last = eqns[: blocks.period], eqns[-blocks.period :]
    kinds = [kind for operands in reads for kind in operands]
    carries = {kind.own: kind.first for kind in kinds if isinstance(kind, _Carry)}
    outside = {kind.name: kind.atoms for kind in kinds if isinstance(kind, _Outside)}

    def equal_blocks(*values: Any) -> list[Any]:
        given = dict(zip(inputs, values, strict=True))

        def body(state: list[Any], turn: Any) -> tuple[list[Any], None]:
            before = dict(zip(carries, state, strict=True))
            results = _results(block, reads, before, _chosen(outside, given, turn))
            return [results[own] for own in carries], None

        firsts = [_array(atom, given) for atom in carries.values()]
        return lax.scan(body, firsts, lax.iota(jnp.int32, blocks.turns))[0]

    atoms = [*carries.values(), *(atom for atoms in outside.values() for atom in atoms)]
    inputs = list(dict.fromkeys(atom for atom in atoms if not compat.is_literal(atom)))
    (call,) = jax.make_jaxpr(jax.jit(equal_blocks))(*_avals(inputs)).eqns
    return call.replace(invars=inputs, outvars=[last[own.j].outvars[own.k] for own in carries])


def _results(block: Sequence[Any], reads: list[list[Any]], before: dict[_Own, Any], outside: dict[Any, Any]) -> Any:
    """What the equations of one block make."""
    results: dict[_Own, Any] = {}

    def read(kind: Any) -> Any:
        if isinstance(kind, _Own):
            return results[kind]
        return before[kind.own] if isinstance(kind, _Carry) else outside[kind.name]

    for j, eqn in enumerate(block):
        with compat.source_context(eqn):
            outs = compat.bind(eqn, list(map(read, reads[j])))
        results.update((_Own(j, k), out) for k, out in enumerate(outs))
    return results


def _chosen(outside: dict[Any, tuple[Any, ...]], given: dict[Any, Any], turn: Any) -> dict[Any, Any]:
    """What a turn reads from outside; a literal that is the same for all stays one."""
    same = {name: atom for name, (atom, *others) in outside.items() if not others}
    values = {name: atom.val if compat.is_literal(atom) else given[atom] for name, atom in same.items()}
    varied = {name: atoms for name, atoms in outside.items() if name not in same}
    if varied:
        cases = zip(*varied.values(), strict=True)
        branches = [lambda atoms=atoms: [_array(atom, given) for atom in atoms] for atoms in cases]
        values.update(zip(varied, lax.switch(turn, branches), strict=True))
    return values


def _array(atom: Any, given: dict[Any, Any]) -> Any:
    return jnp.asarray(atom.val, atom.aval.dtype) if compat.is_literal(atom) else given[atom]

"""Parses the text of an expression into a graph, in the grammar of OpenMM's custom forces."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from boltzflow.energies.expressions.expression import Expression, Function, call, constant, variable
from boltzflow.energies.expressions.functions import FUNCTIONS
from boltzflow.errors import OptionError

Macro = Callable[[tuple[Expression, ...]], Expression]
"""A function that a force adds to the language: arguments → expression."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d]\w*)|(?P<sign>[-+*/^(),]))"
)


def parse(text: str, macros: Mapping[str, Function | Macro] | None = None) -> Expression:
    """The graph of ``formula; name = formula; …``, where a name is used before its definition.

    Operators are + − * / ^ (right-associative, and binding more tightly than a sign) and parentheses; functions are
    those of `functions.FUNCTIONS` and `macros`.

    Raises:
        OptionError: if the text is not such an expression; gives the position of the error.

    >>> str(parse("k*(r-r0)^2; k=3"))
    '(3.0 * ((r - r0) ^ 2.0))'
    """
    functions = {**FUNCTIONS, **(macros or {})}
    formula, *definitions = [part for part in text.split(";") if part.strip()] or [""]
    if not formula:
        raise OptionError("Expected an expression; got an empty text.")
    known: dict[str, Expression] = {}
    for definition in reversed(definitions):
        name, equals, value = definition.partition("=")
        if not equals:
            raise OptionError(f"Expected name=expression in {definition.strip()!r} of {text!r}.")
        known[name.strip()] = _Parser(value, functions, known).parse()
    return _Parser(formula, functions, known).parse()


class _Parser:
    """Recursive descent over one formula."""

    def __init__(self, text: str, functions: Mapping[str, Function | Macro], known: Mapping[str, Expression]) -> None:
        self.text, self.functions, self.known = text, functions, known
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if match is None:
                raise OptionError(f"Expected a number, a name or an operator at {text[place:].strip()!r} in {text!r}.")
            assert match.lastgroup is not None
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            place = match.end()
        self.at = 0

    def parse(self) -> Expression:
        result = self._sum()
        if self.at < len(self.tokens):
            raise self._unexpected("an operator or the end")
        return result

    def _sum(self) -> Expression:
        result = self._product()
        while self._next() in ("+", "-"):
            result = result + self._product() if self._take() == "+" else result - self._product()
        return result

    def _product(self) -> Expression:
        result = self._signed()
        while self._next() in ("*", "/"):
            result = result * self._signed() if self._take() == "*" else result / self._signed()
        return result

    def _signed(self) -> Expression:
        if self._next() == "-":
            self._take()
            return -self._signed()
        return self._power()

    def _power(self) -> Expression:
        base = self._atom()
        if self._next() != "^":
            return base
        self._take()
        return base ** self._signed()

    def _atom(self) -> Expression:
        kind, token = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")
        if kind == "number":
            self._take()
            return constant(float(token))
        if kind == "name":
            self._take()
            return self._called(token) if self._next() == "(" else self.known.get(token, variable(token))
        if token == "(":
            self._take()
            inner = self._sum()
            self._expect(")")
            return inner
        raise self._unexpected("a number, a name or '('")

    def _called(self, name: str) -> Expression:
        self._take()
        arguments = [self._sum()]
        while self._next() == ",":
            self._take()
            arguments.append(self._sum())
        self._expect(")")
        function = self.functions.get(name)
        if function is None:
            raise OptionError(f"Expected known functions in {self.text!r}; got {name!r}.")
        if not isinstance(function, Function):
            return function(tuple(arguments))
        if len(arguments) != function.arity:
            raise OptionError(f"Expected {function.arity} arguments of {name} in {self.text!r}; got {len(arguments)}.")
        return call(function, *arguments)

    def _next(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def _take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1][1]

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise self._unexpected(repr(token))
        self._take()

    def _unexpected(self, expected: str) -> OptionError:
        came = repr(self._next()) if self.at < len(self.tokens) else "the end"
        return OptionError(f"Expected {expected} in {self.text!r}; got {came}.")

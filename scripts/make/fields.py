"""The words that the code puts into fields of its sentences: "last" in f"the {which} frame", " and " in a joined list.

They are followed from a field to the constants that it may hold: in the field itself, by a variable of the function or
of the module, by what the module's calls give for an argument, and by what a function of the module returns.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

_FUNCTIONS = (ast.FunctionDef, ast.Lambda)
# Calls that give their first argument's words, and methods that give those of their object.
_SAME = {"str", "list", "sorted", "tuple", "set", "dict", "reversed", "next", "iter"}
_METHODS = {"get", "strip", "values", "pop", "lower", "capitalize"}


@dataclass
class Module:
    """A module's variables, calls and returned values, by the function that they stand in (None: the module itself)."""

    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)
    variables: dict[tuple[ast.AST | None, str], list[ast.expr]] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    calls: dict[str, list[ast.Call]] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: ast.Module) -> Module:
        module = cls({child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)})
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                module.functions[node.name] = node
            elif isinstance(node, ast.Call):
                name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
                module.calls.setdefault(name, []).append(node)
            for target, value in _assigned(node):
                module.variables.setdefault((module.scope(node), target), []).append(value)
        return module

    def scope(self, node: ast.AST | None) -> ast.AST | None:
        """The function around a node; None: the module."""
        node = self.parents.get(node) if node is not None else None
        while node is not None and not isinstance(node, _FUNCTIONS):
            node = self.parents.get(node)
        return node

    def texts(self, value: ast.expr, seen: frozenset[ast.AST] = frozenset()) -> Iterator[ast.Constant | ast.JoinedStr]:
        """The texts that an expression or its items may be; of a joined list what stands between as well."""
        if value in seen:
            return
        seen = seen | {value}
        for part in self._sources(value):
            if isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str)):
                yield part
            else:
                yield from self.texts(part, seen)

    def _sources(self, value: ast.expr) -> Iterator[ast.expr]:
        match value:
            case ast.Constant() | ast.JoinedStr():
                yield value
            case ast.IfExp():
                yield from (value.body, value.orelse)
            case ast.BoolOp():
                yield from value.values
            case ast.List() | ast.Tuple() | ast.Set():
                yield from value.elts
            case ast.Dict():
                yield from value.values
            case ast.DictComp():
                yield value.value
            case ast.BinOp(op=ast.Add()):
                yield from (value.left, value.right)
            case ast.Starred() | ast.Subscript() | ast.NamedExpr():
                yield value.value
            case ast.GeneratorExp() | ast.ListComp():
                yield value.elt
            case ast.Call(func=ast.Attribute(attr="join", value=between)) if value.args:
                yield from (between, value.args[0])
            case ast.Call(func=ast.Attribute(attr=name, value=owner)) if name in _METHODS:
                yield from (owner, *value.args[1:])
            case ast.Call(func=ast.Name(id=name)) if name in _SAME:
                yield from value.args
            case ast.Call(func=ast.Name(id=name)) if name in self.functions:
                yield from self._returned(self.functions[name])
            case ast.Name():
                yield from self._of_variable(value)

    def _returned(self, function: ast.FunctionDef) -> Iterator[ast.expr]:
        for node in ast.walk(function):
            if isinstance(node, (ast.Return, ast.Yield)) and node.value is not None and self.scope(node) is function:
                yield node.value

    def _of_variable(self, name: ast.Name) -> Iterator[ast.expr]:
        scope = self.scope(name)
        while True:
            if (scope, name.id) in self.variables:
                yield from self.variables[scope, name.id]
                return
            if isinstance(scope, ast.FunctionDef) and name.id in (names := [each.arg for each in _arguments(scope)]):
                yield from self._passed(scope, names, name.id)
                return
            if scope is None:
                return
            scope = self.scope(scope)

    def _passed(self, function: ast.FunctionDef, names: list[str], name: str) -> Iterator[ast.expr]:
        place = names.index(name) - (names[0] in ("self", "cls"))
        for call in self.calls.get(function.name, []):
            yield from call.args[place : place + 1]
            yield from (keyword.value for keyword in call.keywords if keyword.arg == name)


def _arguments(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """(variable, value) of a statement; of a loop its items' values."""
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _pairs(target, value)
        case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.AugAssign(target=target, value=value):
            yield from _pairs(target, value)
        case ast.NamedExpr(target=target, value=value):
            yield from _pairs(target, value)
        case ast.Call(func=ast.Attribute(attr="append" | "extend", value=target), args=[value]):
            yield from _pairs(target, value)
        case ast.For(target=target, iter=items) | ast.comprehension(target=target, iter=items):
            for item in items.elts if isinstance(items, (ast.Tuple, ast.List)) else [items]:
                yield from _pairs(target, item)


def _pairs(target: ast.AST, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.IfExp):
        yield from (*_pairs(target, value.body), *_pairs(target, value.orelse))
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.GeneratorExp):
        yield from (pair for each in target.elts for pair in _pairs(each, value.elt))
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for each, part in zip(target.elts, value.elts, strict=False):
            yield from _pairs(each, part)

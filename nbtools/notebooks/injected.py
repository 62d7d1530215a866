"""Check a running notebook's parameters, because papermill injects values of any type and only warns about unknown names."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from nbtools.errors import InputError
from nbtools.notebooks.parameters import KINDS, Parameter, coerce, declared
from nbtools.values import check_names, shown

INJECTED = "# Parameters"  # the first line of the cell that papermill inserts after the one tagged `parameters`


def check_injected(variables: Mapping[str, Any]) -> None:
    """Check the parameters among a notebook's global variables against the declarations `name: type = value` in its executed cells.

    The cells come from IPython's history, not from a file, so that a copy of a notebook is checked by its own declarations. Raises
    InputError for a value of the wrong type, an invalid value, and an injected name that is not declared, with the nearest one.
    """
    parameters: dict[str, Parameter] = {}
    injected: list[str] = []
    history = variables.get("In", [])
    for source in map(str, history if isinstance(history, list) else []):
        try:
            annotated = any(isinstance(line, ast.AnnAssign) for line in ast.parse(source).body)
        except (SyntaxError, ValueError):  # a cell in another language, or with a syntax error
            continue
        if source.startswith(INJECTED):
            injected += declared(source)
        elif annotated:
            parameters |= {name: found for name, found in declared(source).items() if found.kind and name not in parameters}
    if not parameters:
        return
    check_names("This notebook", injected, parameters)
    for name, parameter in parameters.items():
        value = variables.get(name)
        if isinstance(value, str) and parameter.kind not in {"str", ""}:
            wanted = KINDS[parameter.kind]
            raise InputError(f"{name} is the text {shown(value)}, and must be {wanted.partition(' such')[0]}.", f"Give {wanted}.")
        coerce(parameter, value)

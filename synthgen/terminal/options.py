"""Options of commands, declared once: as the fields of a dataclass, each with its name, type, help and section."""

import dataclasses
import inspect
import types
from collections.abc import Callable
from operator import getitem
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters that are dataclasses are spread into their fields, for typer to read.

    The command itself is called with these dataclasses made by keyword. A field or parameter is
    `Annotated[TYPE, typer.Option(...)]`; one of type `tuple[TYPE, ...]` is an option that may be repeated, and empty where it
    was not given.

    Args:
        command: all of whose parameters are annotated with types that can be looked up.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {}
    declared: list[tuple[str, Any, Any]] = []  # name, type, default
    for parameter in inspect.signature(command).parameters.values():
        hint = hints[parameter.name]
        if dataclasses.is_dataclass(hint):
            groups[parameter.name] = cast(type[Any], hint)
            fields = get_type_hints(hint, include_extras=True)
            declared += [(field.name, fields[field.name], field.default) for field in dataclasses.fields(hint)]
        else:
            declared.append((parameter.name, hint, parameter.default))
    parameters = [_parameter(*each) for each in declared]
    repeated = {name for name, hint, _ in declared if _is_repeated(hint)}

    def run(**values: Any) -> None:
        values |= {name: tuple(values[name] or ()) for name in repeated}
        made = {
            name: group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        command(**made, **values)

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(name: str, hint: Any, default: Any) -> inspect.Parameter:
    """What typer reads of a field or parameter."""
    kind, *options = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if _is_repeated(hint):
        kind, default = types.GenericAlias(list, get_args(kind)[0]) | None, None
    annotation = getitem(cast(Any, Annotated), (kind, *options)) if options else kind
    default = inspect.Parameter.empty if default is dataclasses.MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _is_repeated(hint: Any) -> bool:
    """Whether it is `tuple[TYPE, ...]`."""
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return get_origin(kind) is tuple and get_args(kind)[1:] == (...,)

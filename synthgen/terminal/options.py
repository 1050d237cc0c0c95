"""Options of commands, declared once: as the fields of a dataclass, each with its name, type, help and section."""

import dataclasses
import inspect
import types
from collections.abc import Callable, Iterator
from operator import getitem
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters that are dataclasses are spread into their fields, for typer to read.

    The command itself is called with these dataclasses made by keyword. A field is `Annotated[TYPE, typer.Option(...)]` with
    a default; one of type `tuple[TYPE, ...]` is an option that may be repeated, and empty where it was not given.

    Args:
        command: all of whose parameters are annotated with types that can be looked up.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if dataclasses.is_dataclass(hint := hints[parameter.name]):
            groups[parameter.name] = hint  # type: ignore[assignment]
            parameters += _parameters(hint)  # type: ignore[arg-type]
        else:
            parameters.append(parameter.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY))

    def run(**values: Any) -> None:
        made = {name: _made(group, values) for name, group in groups.items()}
        command(**made, **values)

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameters(group: type[Any]) -> Iterator[inspect.Parameter]:
    """What typer reads of a dataclass."""
    hints = get_type_hints(group, include_extras=True)
    for field in dataclasses.fields(group):
        hint, *declared = get_args(hints[field.name])
        default = field.default if field.default is not dataclasses.MISSING else inspect.Parameter.empty
        if _is_repeated(hint):
            hint, default = types.GenericAlias(list, get_args(hint)[0]) | None, None
        annotation = getitem(cast(Any, Annotated), (hint, *declared))
        yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _made(group: type[Any], values: dict[str, Any]) -> Any:
    """The dataclass, its fields taken out of `values`."""
    fields = {}
    for name, hint in get_type_hints(group).items():
        value = values.pop(name)
        fields[name] = tuple(value or ()) if _is_repeated(hint) else value
    return group(**fields)


def _is_repeated(hint: object) -> bool:
    return get_origin(hint) is tuple and get_args(hint)[1:] == (...,)

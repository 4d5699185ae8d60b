"""Attributes of a model: validated, constant after construction, or those of one of its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class Checked(Generic[T]):
    """An attribute whose value is validated whenever it is set.

    Parameters
    ----------
    check : callable
        Returns the value to store from the given one; raises `InputError` if it is invalid.
    """

    def __init__(self, check: Callable[[Any], T]) -> None:
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Checked[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Checked[T] | T:
        if instance is None:
            return self
        value: T = instance.__dict__[self._name]
        return value

    def __set__(self, instance: object, value: Any) -> None:
        instance.__dict__[self._name] = self._check(value)


class Fixed(Generic[T]):
    """An attribute that cannot be changed after construction.

    Parameters
    ----------
    reason : str
        Why it cannot be changed.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Fixed[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Fixed[T] | T:
        if instance is None:
            return self
        value: T = instance.__dict__[self._name]
        return value

    def __set__(self, instance: object, value: T) -> None:
        if self._name in instance.__dict__:
            raise AttributeError(
                f"{self._name} cannot be changed: {self._reason}; build another model"
            )
        instance.__dict__[self._name] = value


class Delegated(Generic[T]):
    """A read-only attribute that belongs to a part of the model, such as its lattice.

    Parameters
    ----------
    part : str
        Name of the model's attribute that holds the part.
    name : str
        Name of the attribute in that part.
    doc : str
        Its docstring.
    """

    def __init__(self, part: str, name: str, doc: str) -> None:
        self._part, self._name = part, name
        self.__doc__ = doc

    @overload
    def __get__(self, instance: None, owner: type) -> Delegated[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Delegated[T] | T:
        if instance is None:
            return self
        value: T = getattr(getattr(instance, self._part), self._name)
        return value

    def __set__(self, instance: object, value: T) -> None:
        raise AttributeError(f"{self._name} cannot be set: it follows from other attributes")

"""Attributes of a model: checked when set, fixed once it is built, or read off one of its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class Checked(Generic[T]):
    """An attribute whose values pass through a check, at construction and ever after.

    Parameters
    ----------
    check : callable
        From what a user gives to what is kept; raises `InputError` for what cannot be.
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
    """An attribute that is set once, at construction.

    Parameters
    ----------
    reason : str
        Why it cannot be changed afterwards.
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
    """An attribute that is read off a part of the model, such as its lattice.

    Parameters
    ----------
    part : str
        The model's attribute that has it.
    name : str
        What it is called there.
    doc : str
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

"""Springs as parameters: classes of contacts, and the parameters of each class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from onephonon.core.errors import InputError
from onephonon.core.tensors import map_tensors

from .bodies import Bodies
from .contacts import Contacts, check_any
from .force_constants import (
    ForceConstants,
    Springs,
    SpringValue,
    assign_springs,
    contact_lengths,
    force_constants,
)
from .interfaces import (
    ContactFeatures,
    ContactTable,
    contact_features,
    contact_keys,
    contact_rows,
    find_interfaces,
    residue_pairs,
)

GROUPINGS = ("global", "copy", "interface", "residue")
KINDS = ("gaussian", "parallel", "hybrid", "stiffness")
POSITIVITY = ("log", "softplus")

#: Maps contact features to spring constants, (n,) or (n, 2).
SpringFunction = Callable[[ContactFeatures], Tensor]

#: A label for each contact in their order, or by (first atom, second atom, operator).
Labelling = Sequence[str] | Mapping[tuple[str, str, str], str]


@dataclass(frozen=True)
class SpringPlan:
    """Specification of the springs of a model.

    Parameters
    ----------
    by : {'global', 'copy', 'interface', 'residue'} or labelling
        Which contacts share a spring constant: all of them; those within a copy of the
        asymmetric unit and those between copies; those of each interface (symmetry-unique pair
        of neighbouring copies); those of each pair of residues in an interface; or those with
        the same label. Contacts related by symmetry always share their constants. For
        'interface' and 'residue', contacts within a copy are one class.
    kind : {'gaussian', 'parallel', 'hybrid', 'stiffness'}
        One constant for all directions; one along the contact; one along and one across it; or
        a 6 x 6 stiffness for each interface (`by` must then be 'interface').
    start : float, (float, float) or mapping
        Starting value of the constants; for 'hybrid' (along, across). A mapping has values by
        class, with ``"default"`` for all other classes.
    positivity : {'log', 'softplus'}
        The unconstrained parameter: the logarithm, or the inverse of softplus.

    Raises
    ------
    InputError
        If a choice is unknown or a starting value is not positive.
    """

    by: str | Labelling = "interface"
    kind: str = "gaussian"
    start: Any = 1.0
    positivity: str = "log"

    def __post_init__(self) -> None:
        if isinstance(self.by, str) and self.by not in GROUPINGS:
            raise InputError(f"springs by {self.by!r}: not one of {', '.join(GROUPINGS)}")
        if self.kind not in KINDS:
            raise InputError(f"springs of kind {self.kind!r}: not one of {', '.join(KINDS)}")
        if self.positivity not in POSITIVITY:
            raise InputError(f"positivity {self.positivity!r}: not one of {', '.join(POSITIVITY)}")
        if self.kind == "stiffness" and self.by != "interface":
            raise InputError("kind 'stiffness' has one matrix per interface: set by='interface'")


class SpringSource(Protocol):
    """A source of springs for a network: constants, classes, a function, or stiffnesses."""

    def contact_springs(self, bodies: Bodies, contacts: Contacts) -> Springs | None:
        """Springs of each contact; None if contacts have no springs."""
        ...

    def classes(self) -> SpringClasses | None:
        """The class of each contact's spring, if there are classes."""
        ...

    def force_constants(self, bodies: Bodies, contacts: Contacts) -> ForceConstants:
        """Force constants between the bodies."""
        ...


@dataclass(frozen=True)
class SpringClasses:
    """The class of each contact's spring.

    Parameters
    ----------
    names : tuple of str
    index : Tensor, shape (n_contacts,), int64
        Index of each contact's class in `names`.
    """

    names: tuple[str, ...]
    index: Tensor

    def of_contacts(self) -> list[str]:
        """Name of each contact's class."""
        return [self.names[i] for i in self.index.tolist()]


@dataclass(frozen=True)
class ConstantSprings:
    """The plain spring constants of a network model.

    Parameters
    ----------
    model : {'gnm', 'anm', 'hybrid'}
    gamma_intra, gamma_inter, k_par, k_perp : float, Tensor or pair, optional
        See `assign_springs`.
    """

    model: str
    gamma_intra: SpringValue | None = None
    gamma_inter: SpringValue | None = None
    k_par: SpringValue | None = None
    k_perp: SpringValue | None = None

    @property
    def values(self) -> list[Tensor]:
        """The constants that are tensors."""
        every = (self.gamma_intra, self.gamma_inter, self.k_par, self.k_perp)
        each = [x for v in every for x in (v if isinstance(v, Sequence) else [v])]
        return [x for x in each if isinstance(x, Tensor)]

    def check(self) -> None:
        """Check the constants, which may have been set after a model was made.

        Raises
        ------
        InputError
            If one is negative or not finite.
        """
        for name in ("gamma_intra", "gamma_inter", "k_par", "k_perp"):
            value = getattr(self, name)
            if value is None:
                continue
            numbers = value if isinstance(value, Sequence) else [value]
            for number in numbers:
                x = torch.as_tensor(number).detach()
                if not bool((torch.isfinite(x) & (x >= 0)).all()):
                    raise InputError(
                        f"model {self.model!r}: {name} = {x.tolist()}; spring constants must be "
                        "finite and not negative"
                    )

    def contact_springs(self, bodies: Bodies, contacts: Contacts) -> Springs:  # noqa: ARG002
        """Springs of each contact."""
        options = {"gamma_intra": self.gamma_intra, "gamma_inter": self.gamma_inter}
        used: dict[str, Any] = {n: value for n, value in options.items() if value is not None}
        return assign_springs(contacts, self.model, **used, k_par=self.k_par, k_perp=self.k_perp)

    def classes(self) -> None:
        """None: the only distinction is within a copy or between copies."""
        return

    def force_constants(self, bodies: Bodies, contacts: Contacts) -> ForceConstants:
        """Force constants between the bodies."""
        return force_constants(bodies, contacts, self.contact_springs(bodies, contacts))


class ClassSprings(nn.Module):
    """Spring constants shared within classes of contacts.

    Parameters
    ----------
    bodies : Bodies
    contacts : Contacts
    plan : SpringPlan
        Of kind 'gaussian', 'parallel' or 'hybrid'.

    Attributes
    ----------
    free : nn.Parameter, shape (n_classes, n_constants)
        Unconstrained; the spring constants are the exponential or softplus of it.
    names : tuple of str
        Names of the classes, in the order of `free`.
    """

    def __init__(self, bodies: Bodies, contacts: Contacts, plan: SpringPlan) -> None:
        super().__init__()
        check_any(bodies, contacts)
        labels = [str(label) for label in classify(bodies, contacts, plan.by)]
        # Sorted, so that a saved state does not depend on the order of the contacts.
        self.names = tuple(sorted(set(labels)))
        number = {name: i for i, name in enumerate(self.names)}
        self.plan = plan
        self.contact_class: Tensor
        index = torch.tensor([number[label] for label in labels], device=contacts.i.device)
        self.register_buffer("contact_class", index, persistent=False)
        start = torch.tensor(
            [_start(plan, name) for name in self.names],
            dtype=contacts.distance.dtype,
            device=contacts.distance.device,
        )
        if not bool((start > 0).all() & torch.isfinite(start).all()):
            raise InputError(
                f"spring constants start at {start.tolist()}; they must be positive, since "
                f"their {plan.positivity} is the parameter (for k_perp = 0 use kind 'parallel')"
            )
        self.free = nn.Parameter(_to_free(start, plan.positivity))

    def get_extra_state(self) -> dict[str, Any]:
        """The classes' names, saved with their constants."""
        return {"names": list(self.names)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Check that the saved constants belong to the same classes."""
        check_names(state["names"], self.names)

    def values(self) -> Tensor:
        """Spring constants of each class, shape (n_classes, n_constants); differentiable."""
        return self.from_free(self.free)

    def from_free(self, free: Tensor) -> Tensor:
        """Spring constants from unconstrained numbers."""
        return torch.exp(free) if self.plan.positivity == "log" else softplus(free)

    def set_values(self, values: Tensor | Sequence[float]) -> None:
        """Set the constants of the classes, (n_classes,) or (n_classes, n_constants)."""
        new = torch.as_tensor(values, dtype=self.free.dtype, device=self.free.device)
        new = new[:, None] if new.ndim == 1 else new
        if new.shape[0] != len(self.names) or new.shape[1] not in (1, self.free.shape[1]):
            raise InputError(
                f"values of shape {tuple(new.shape)} for {len(self.names)} classes of "
                f"{self.free.shape[1]} constants"
            )
        if not bool((new > 0).all() & torch.isfinite(new).all()):
            raise InputError(f"spring constants {new.tolist()} must be positive and finite")
        with torch.no_grad():
            self.free.copy_(_to_free(new.expand_as(self.free), self.plan.positivity))

    def springs(self, values: Tensor | None = None) -> Springs:
        """Springs of each contact, from given constants of the classes or the present ones."""
        per_contact = (self.values() if values is None else values)[self.contact_class]
        k_par = per_contact[:, 0]
        if self.plan.kind == "gaussian":
            return Springs(k_par, k_par)
        if self.plan.kind == "parallel":
            return Springs(k_par, torch.zeros_like(k_par))
        return Springs(k_par, per_contact[:, 1])

    def contact_springs(self, bodies: Bodies, contacts: Contacts) -> Springs:  # noqa: ARG002
        """Springs of each contact, from the present constants."""
        return self.springs()

    def classes(self) -> SpringClasses:
        """The class of each contact."""
        return SpringClasses(self.names, self.contact_class)

    def force_constants(self, bodies: Bodies, contacts: Contacts) -> ForceConstants:
        """Force constants between the bodies."""
        return force_constants(bodies, contacts, self.springs())

    forward = force_constants


class FunctionSprings(nn.Module):
    """Spring constants from a user's function or module of the contacts' features.

    Parameters
    ----------
    bodies : Bodies
    contacts : Contacts
    function : callable
        From `ContactFeatures` to positive numbers of shape (n,) (in all directions) or (n, 2)
        (along and across). A module's parameters become parameters of the model.
    """

    def __init__(self, bodies: Bodies, contacts: Contacts, function: SpringFunction) -> None:
        super().__init__()
        check_any(bodies, contacts)
        self.function = function
        self._features = contact_features(bodies, contacts, find_interfaces(bodies, contacts))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FunctionSprings:
        super()._apply(fn, recurse)
        self._features = map_tensors(self._features, fn)
        return self

    def contact_springs(self, bodies: Bodies, contacts: Contacts) -> Springs:
        """Springs of each contact, at the present distances.

        Raises
        ------
        InputError
            If the function's result has the wrong shape.
        """
        distance = contact_lengths(bodies, contacts.i, contacts.j, contacts.cell)
        k = self.function(replace(self._features, distance=distance))
        n = len(self._features.distance)
        if k.shape not in ((n,), (n, 1), (n, 2)):
            raise InputError(
                f"the spring function returned shape {tuple(k.shape)} for {n} contacts; return "
                f"({n},) or ({n}, 2)"
            )
        columns = k.reshape(n, -1)
        return Springs(columns[:, 0], columns[:, -1])

    def force_constants(self, bodies: Bodies, contacts: Contacts) -> ForceConstants:
        """Force constants between the bodies."""
        return force_constants(bodies, contacts, self.contact_springs(bodies, contacts))

    forward = force_constants

    def classes(self) -> SpringClasses:
        """A single class, named after the function."""
        index = torch.zeros_like(self._features.interface)
        return SpringClasses(("function",), index)


def check_names(saved: Sequence[str], names: Sequence[str]) -> None:
    """Check that saved spring constants belong to these classes.

    Raises
    ------
    InputError
        Names the differences.
    """
    if list(saved) != list(names):
        other = sorted(set(saved) ^ set(names)) or "their order"
        raise InputError(
            f"the saved springs belong to other classes ({other} differ); build the model with the "
            "same plan, structure and cutoff as when they were saved"
        )


def classify(bodies: Bodies, contacts: Contacts, by: str | Labelling) -> list[str]:
    """Name the spring class of each contact.

    Raises
    ------
    InputError
        If the labels do not match the contacts.
    """
    found = find_interfaces(bodies, contacts)
    if by == "global":
        return ["global"] * contacts.n_contacts
    if by == "copy":
        return ["intra" if same else "inter" for same in contacts.same_copy.tolist()]
    if by == "interface":
        return [found.names[i] for i in found.index.tolist()]
    if by == "residue":
        pairs = residue_pairs(bodies, contacts, found)
        within = contacts.same_copy.tolist()
        return [
            found.names[0] if same else f"{a} - {b} ({operator})"
            for (a, b, operator), same in zip(pairs, within, strict=True)
        ]
    keys = contact_keys(bodies, contacts, found)
    if isinstance(by, Mapping):
        missing = [key for key in keys if key not in by]
        if missing:
            raise InputError(
                f"{len(missing)} contacts have no label, {' - '.join(missing[0])} among them; "
                "the table was made with another structure or cutoff"
            )
        return [by[key] for key in keys]
    return _check_labels(np.asarray(by).tolist(), keys)


def _check_labels(labels: Sequence[str], keys: list[tuple[str, str, str]]) -> list[str]:
    """Check a user's labels, which must be equal for symmetry-related contacts."""
    if len(labels) != len(keys):
        raise InputError(f"{len(labels)} labels were given for {len(keys)} contacts")
    label_of: dict[tuple[str, str, str], str] = {}
    for key, label in zip(keys, labels, strict=True):
        if label_of.setdefault(key, label) != label:
            raise InputError(
                f"contact {' - '.join(key)} is labelled {label!r} and, in another copy, "
                f"{label_of[key]!r}: symmetry-related contacts share one label"
            )
    return [str(label) for label in labels]


def _start(plan: SpringPlan, name: str) -> list[float]:
    """Starting constants of a class."""
    start = plan.start
    if isinstance(start, Mapping):
        start = {str(key): value for key, value in start.items()}
        if name not in start and "default" not in start:
            raise InputError(f"start has no value for class {name!r} and no 'default'")
        start = start.get(name, start.get("default"))
    n = 2 if plan.kind == "hybrid" else 1
    values = [float(x) for x in start] if isinstance(start, Sequence) else [float(start)] * n
    if len(values) != n:
        raise InputError(f"start {start} of class {name!r}: kind {plan.kind!r} has {n} constants")
    return values


def _to_free(values: Tensor, positivity: str) -> Tensor:
    """Inverse of exp or of softplus."""
    if positivity == "log":
        return torch.log(values)
    return values + torch.log(-torch.expm1(-values))


def contact_table(
    bodies: Bodies,
    contacts: Contacts,
    springs: Springs | None = None,
    classes: SpringClasses | None = None,
) -> ContactTable:
    """Symmetry-unique contacts with atoms, operator, distance, class and spring constants.

    Parameters
    ----------
    bodies : Bodies
    contacts : Contacts
    springs : Springs, optional
        Springs of each contact; without them the constants are NaN.
    classes : SpringClasses, optional
        By default within and between copies or, without springs, by interface.
    """
    if classes is None:
        names = classify(bodies, contacts, "copy" if springs else "interface")
    else:
        names = classes.of_contacts()
    none = torch.full_like(contacts.distance, torch.nan)
    constants = {
        "k_par": springs.k_par if springs else none,
        "k_perp": springs.k_perp if springs else none,
    }
    found = find_interfaces(bodies, contacts)
    return contact_rows(bodies, contacts, found, names, constants)

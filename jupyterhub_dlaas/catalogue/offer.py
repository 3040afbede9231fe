"""Who may start what, and the one gate for every choice: the form's, the REST call's and the remembered one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jupyterhub_dlaas.catalogue.demands import Resources
from jupyterhub_dlaas.catalogue.grants import Grant, exceeds
from jupyterhub_dlaas.catalogue.models import Basket, Catalogue, Environment, RucioInstance, Storage
from jupyterhub_dlaas.errors import OptionsError

if TYPE_CHECKING:
    from jupyterhub_dlaas.catalogue.folder import Catalogues

OPTIONS = ("environment", "resources", "auth_type")


@dataclass(frozen=True)
class Offer:
    """One environment that a user may start."""

    vo: str
    environment: Environment
    catalogue: Catalogue
    grant: Grant

    @cached_property
    def id(self) -> str:
        """`escape/root`, as options name it."""
        return f"{self.vo}/{self.environment.name}"

    @cached_property
    def rucio(self) -> tuple[tuple[str, RucioInstance], ...]:
        """Names and Rucio instances of the environment, the default one first."""
        return tuple((name, self.catalogue.rucio_instances[name]) for name in self.environment.rucio)

    @cached_property
    def storages(self) -> tuple[tuple[str, Storage], ...]:
        """Names and storages of the environment."""
        return tuple((name, self.catalogue.storages[name]) for name in self.environment.storages)

    @cached_property
    def baskets(self) -> tuple[tuple[str, Basket], ...]:
        """Names and baskets of the environment."""
        return tuple((name, self.catalogue.baskets[name]) for name in self.environment.baskets)

    @cached_property
    def audiences(self) -> tuple[str, ...]:
        """Keys of the audiences whose tokens the environment needs."""
        keys = [instance.audience for _, instance in self.rucio]
        keys += [access.audience for _, instance in self.rucio for access in instance.rses.values()]
        keys += [key for _, storage in self.storages if (key := getattr(storage, "audience", None))]
        keys += [basket.audience for _, basket in self.baskets if basket.audience]
        return tuple(dict.fromkeys(keys))

    def admits(self, groups: frozenset[str]) -> bool:
        """Whether a member of these groups may start it: the grant's groups make the VO, the environment may narrow it.

        A VO without groups has no members, trusted or not. No group has a leading slash.
        """
        narrowed = self.environment.groups
        return not groups.isdisjoint(self.grant.groups) and (not narrowed or not groups.isdisjoint(narrowed))

    def alone(self) -> Catalogue:
        """The catalogue with this environment and what it uses, and nothing else."""
        return self.catalogue.model_copy(
            update={
                "environments": (self.environment,),
                "rucio_instances": dict(self.rucio),
                "storages": dict(self.storages),
                "baskets": dict(self.baskets),
            }
        )


@dataclass(frozen=True)
class Choice:
    """What a server is started with."""

    offer: Offer
    resources_name: str | None
    resources: Resources | None
    auth_type: str

    def as_options(self) -> dict[str, str]:
        """The user options that choose exactly this."""
        options = {"environment": self.offer.id, "auth_type": self.auth_type}
        return options if self.resources_name is None else {**options, "resources": self.resources_name}


def offered(catalogues: Catalogues, groups: Collection[str]) -> tuple[Offer, ...]:
    """The environments of all open VOs that a member of `groups` may start, VOs in the order of their names."""
    mine = frozenset(group.strip("/") for group in groups)
    return tuple(
        offer
        for vo, catalogue in sorted(catalogues.open.items())
        for environment in catalogue.environments
        if (offer := Offer(vo, environment, catalogue, catalogues.vos[vo])).admits(mine)
    )


def choose(offers: Sequence[Offer], options: Mapping[str, Any], previous: Mapping[str, Any] | None = None) -> Choice:
    """The choice that `options` make among `offers`; OptionsError for anything that is not offered.

    No options at all: the previous ones where still allowed, else the first environment. With options, what is left out
    takes the default of the environment.
    """
    if not offers:
        raise OptionsError(
            "You may not start a server here: no environment is offered to your groups.",
            hint="Ask your VO's managers to add you to its group in IAM, then log in again.",
            status=403,
        )
    choice = _choice(offers, options) if options else _remembered(offers, previous or {})
    _still_granted(choice.offer)
    return choice


def _choice(offers: Sequence[Offer], options: Mapping[str, Any]) -> Choice:
    unknown = sorted(str(key) for key in options if key not in OPTIONS)
    if unknown:
        raise OptionsError(f"There is no option {_quoted(unknown)}. The options are {', '.join(OPTIONS)}.")
    offer = offers[0]
    if "environment" in options:
        by_id = {candidate.id: candidate for candidate in offers}
        offer = by_id[_one_of("environment", options, by_id)]
    sizes, types = offer.environment.resources, offer.environment.auth_types
    if "resources" in options and not sizes:
        raise OptionsError(f"{offer.id} has no resources to choose from: leave the option out.")
    size = _one_of("resources", options, sizes) if "resources" in options else next(iter(sizes), None)
    auth_type = _one_of("auth_type", options, types) if "auth_type" in options else types[0]
    return Choice(offer, size, None if size is None else sizes[size], auth_type)


def _remembered(offers: Sequence[Offer], previous: Mapping[str, Any]) -> Choice:
    name = previous.get("environment")
    offer = next((candidate for candidate in offers if candidate.id == name), None)
    if offer is None:
        return _choice(offers, {})
    kept = {"environment": offer.id}
    for key, allowed in (("resources", offer.environment.resources), ("auth_type", offer.environment.auth_types)):
        value = previous.get(key)
        if isinstance(value, str) and value in allowed:
            kept[key] = value
    return _choice(offers, kept)


def _one_of(key: str, options: Mapping[str, Any], allowed: Iterable[str]) -> str:
    value = options[key]
    names = list(allowed)
    if not isinstance(value, str) or value not in names:
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise OptionsError(f"{key} cannot be {_quoted([value])}. It is one of: {shown}.")
    return value


def _still_granted(offer: Offer) -> None:
    """The grant once more, for the chosen environment alone: nothing starts that is beyond it."""
    problems = exceeds(offer.alone(), offer.grant)
    if problems:
        raise OptionsError(
            f"{offer.id} cannot be started: {problems[0].message}.", hint="Ask the hub's administrators.", status=403
        )


def _quoted(values: Iterable[Any]) -> str:
    return ", ".join(repr(value)[:80] for value in values)

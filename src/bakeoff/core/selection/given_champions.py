"""Champions from callers: our records, or nested mappings of the older shape; parsed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from pydantic import TypeAdapter, ValidationError

from bakeoff.core.config.settings import Name, ObjectiveSettings
from bakeoff.core.identity import is_run_id
from bakeoff.core.records import BackboneSelection, Champion
from bakeoff.errors import ChampionError

# By backbone, or in a row. The values of a mapping may be anything until they are parsed.
GivenChampions = Mapping[str, object] | Iterable[Champion | BackboneSelection]

_RUN_IDS = ("run_id", "trial_run_id", "refit_run_id", "sweep_run_id")
_Backbone: TypeAdapter[str] = TypeAdapter(Name)


def parse_champions(
    given: GivenChampions, on_skip: Callable[[str], None] = lambda _: None
) -> tuple[Champion, ...]:
    """Read champions in any shape that callers have.

    Args:
        given: Champions or selections, in a row or by backbone; or mappings of the older shape by backbone:
            ``{"champion": {…}, "all_groups": …, "selection_metadata": …}``. In a mapping, ``backbone`` may
            come from the key, ``run_id`` from ``refit_run_id`` (or the other way round), ``metric_name`` and
            ``fold_metrics`` from their defaults. Paths may be text; unknown keys are ignored.
        on_skip: Called with a line for each backbone without a champion.

    Returns:
        The champions in the order given.

    Raises:
        ChampionError: Lists every fault of every champion; none of them is used.
    """
    champions: dict[str, Champion] = {}
    faults: list[str] = []
    for backbone, one in _by_backbone(given):
        try:
            champion, reason = _unwrap(backbone, one)
            if champion is None:
                on_skip(f"{backbone}: no champion: {reason or 'no reason given'}")
                continue
            parsed = _parse(backbone, champion)
        except ChampionError as error:
            faults += error.faults
            continue
        if backbone in champions:
            faults.append(f"champion of {backbone!r}: given twice; give one champion per backbone")
        champions[backbone] = parsed
    if faults:
        raise ChampionError(faults)
    return tuple(champions.values())


def _by_backbone(given: GivenChampions) -> Iterator[tuple[str, object]]:
    if isinstance(given, Mapping):
        yield from given.items()
        return
    for one in given:
        if not isinstance(one, Champion | BackboneSelection):
            raise ChampionError(
                [f"champions: found {_show(one)} in a row; expected champions or selections, or a mapping"]
            )
        yield one.backbone, one


def _unwrap(backbone: str, given: object) -> tuple[object, object]:
    """Return the champion as given, or None and the reason why there is none."""
    match given:
        case Champion():
            return given, None
        case BackboneSelection():
            return given.champion, given.reason
        case Mapping() if "champion" in given:
            return given["champion"], given.get("reason")
    raise ChampionError(
        [f"champion of {backbone!r}: champion is missing; expected {{'champion': {{…}}}} under the backbone"]
    )


def _parse(backbone: str, given: object) -> Champion:
    match given:
        case Champion():
            champion = given
        case Mapping():
            champion = _read_mapping(backbone, given)
        case _:
            raise ChampionError(
                [f"champion of {backbone!r}: found {_show(given)}; expected a mapping, or None"]
            )
    faults = list(_find_faults(backbone, champion))
    if faults:
        raise ChampionError(faults)
    return champion


def _read_mapping(backbone: str, given: Mapping[object, object]) -> Champion:
    values: dict[object, object] = {
        "backbone": backbone,
        "metric_name": ObjectiveSettings().metric,
        "fold_metrics": (),
        **{name: value for name, value in given.items() if name in Champion.model_fields},
    }
    for name, twin in (("run_id", "refit_run_id"), ("refit_run_id", "run_id")):
        if twin in values:
            values.setdefault(name, values[twin])
    values.setdefault("is_refitted", values.get("refit_run_id") != values.get("trial_run_id"))
    try:
        return Champion.model_validate(values)
    except ValidationError as error:
        raise ChampionError(
            [
                _explain(backbone, ".".join(map(str, fault["loc"])), fault["type"], fault["msg"])
                for fault in error.errors()
            ]
        ) from None


def _explain(backbone: str, field: str, kind: str, message: str) -> str:
    place = f"champion of {backbone!r}: {field}"
    if kind == "missing":
        return f"{place} is missing; add it, or pass the result of select_champions()"
    return f"{place}: {message[0].lower()}{message[1:]}"


def _find_faults(backbone: str, champion: Champion) -> Iterator[str]:
    """Find the faults that the record itself does not check: names and ids become parts of paths."""
    place = f"champion of {backbone!r}"
    if champion.backbone != backbone:
        yield f"{place}: backbone: found {champion.backbone!r}; expected its key"
    try:
        _Backbone.validate_python(champion.backbone)
    except ValidationError:
        yield f"{place}: backbone: found {champion.backbone!r}; expected letters, digits, '.', '_' and '-'"
    for name in _RUN_IDS:
        value = str(getattr(champion, name))
        if value == "" and name == "sweep_run_id":
            continue  # an older writer did not keep it
        if not is_run_id(value):
            yield f"{place}: {name}: found {value!r}; expected an MLflow run id, 32 hex digits"
    if champion.run_id != champion.refit_run_id:
        yield (
            f"{place}: run_id: found {champion.run_id}; expected refit_run_id, {champion.refit_run_id}: "
            "bakeoff measures the refit"
        )


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004

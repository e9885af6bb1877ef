"""Nodes that share a plan are alike; what is not is told by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from bakeoff.core.config.execution import Execution, Node, RayExecution, choose_nodes
from bakeoff.core.config.settings import BenchmarkSettings
from bakeoff.core.identity import compute_config_hash
from bakeoff.core.job import Hardware
from bakeoff.errors import ConfigError

RELEASE = "1.0"
_Execution: TypeAdapter[Execution] = TypeAdapter(Execution)


@pytest.fixture
def make_node(make_hardware: Callable[..., Hardware]) -> Callable[..., Node]:
    def make(name: str, *, cpu: str = "Example CPU", **changes: Any) -> Node:
        values: dict[str, Any] = {
            "node_id": name * 8,
            "name": name,
            "release": RELEASE,
            "hardware": make_hardware(cpu_model=cpu),
            "libraries": {"torch": "2.9.0"},
        }
        return Node(**values | changes)

    return make


def fault_of(nodes: list[Node], wanted: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        choose_nodes(nodes, wanted, RELEASE)
    return str(caught.value)


def test_nodes_that_are_alike_all_measure(make_node: Callable[..., Node]) -> None:
    nodes = [make_node("a"), make_node("b", slots=2)]
    assert choose_nodes(nodes, None, RELEASE) == tuple(nodes)


def test_of_nodes_of_two_kinds_the_one_that_is_named_measures(make_node: Callable[..., Node]) -> None:
    nodes = [make_node("a"), make_node("b", cpu="Other CPU"), make_node("c")]
    assert fault_of(nodes) == (
        "benchmark.execution.hardware: the nodes are of several kinds (2 × 'Example CPU (2 CPUs)', "
        "1 × 'Other CPU (2 CPUs)'); set one of these"
    )
    assert choose_nodes(nodes, "Other CPU (2 CPUs)", RELEASE) == (nodes[1],)
    assert "no node has 'Abacus'" in fault_of(nodes, "Abacus")


def test_a_node_with_other_libraries_is_named_with_what_differs(make_node: Callable[..., Node]) -> None:
    nodes = [make_node("a"), make_node("b", libraries={"torch": "2.8.0"})]
    assert fault_of(nodes) == (
        'benchmark.execution: nodes a and b differ in libraries.torch ("2.9.0", "2.8.0"); '
        "make them equal, or start one without the resource"
    )


def test_a_node_with_another_bakeoff_is_named(make_node: Callable[..., Node]) -> None:
    assert "node b runs bakeoff 0.9, this machine runs 1.0" in fault_of(
        [make_node("a"), make_node("b", release="0.9")]
    )


def test_what_no_node_can_run_is_told_once(make_node: Callable[..., Node]) -> None:
    fault = "runtime openvino needs openvino"
    assert fault_of([make_node("a", faults=(fault,)), make_node("b", faults=(fault,))]) == fault


def test_where_jobs_are_measured_changes_no_key() -> None:
    moved = BenchmarkSettings(execution=RayExecution(kind="ray", address="auto", gpus=1))
    assert compute_config_hash(moved) == compute_config_hash(BenchmarkSettings())


@pytest.mark.parametrize("address", [None, "auto", "head:6379", "10.0.0.1:6379", "ray://head.example:10001"])
def test_an_address_is_one_that_ray_knows(address: str | None) -> None:
    assert _Execution.validate_python({"kind": "ray", "address": address}) is not None


@pytest.mark.parametrize("address", ["", "head", "head:", "http://head:80", "head:6379/x", "ray://head"])
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="address"):
        _Execution.validate_python({"kind": "ray", "address": address})

"""Options: what is allowed, and how the environment is read."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from crossdock.proxy import ArgumentError, CapacityError, Options
from crossdock.proxy.options import variable_of
from crossdock.proxy.schema import MAX_REGION_BYTES

FROM_ENVIRONMENT: dict[str, tuple[str, Any]] = {
    "transport": ("tcp", "tcp"),
    "proxy_threads": ("3", 3),
    "pin": ("false", False),
    "proxy_sleep_us": ("50", 50),
    "peer_access": ("0", False),
    "inbox_bytes": ("4096", 4096),
    "gpu_direct": ("0", False),
    "timeout_s": ("2.5", 2.5),
    "heap_bytes": ("2GiB", 2 << 30),
    "ring_slots": ("512", 512),
    "window": ("64", 64),
    "writes_per_peer": ("16", 16),
    "bytes_in_flight": ("8M", 8 << 20),
    "node": ("rack-1", "rack-1"),
    "tcp_interface": ("eth0", "eth0"),
    "tcp_address": ("10.0.0.7", "10.0.0.7"),
    "connections_per_peer": ("4", 4),
    "rdma_devices": ("mlx5_0,mlx5_1:2", "mlx5_0,mlx5_1:2"),
    "rdma_gid_index": ("3", 3),
    "rdma_roce_version": ("v1", "v1"),
    "rdma_mtu_bytes": ("1K", 1024),
    "rdma_traffic_class": ("104", 104),
    "rdma_service_level": ("3", 3),
    "rdma_paths": ("2", 2),
    "mend_s": ("2.5", 2.5),
    "dump_dir": ("/scratch/dumps", "/scratch/dumps"),
    "dump_signal": ("SIGUSR1", "SIGUSR1"),
}


def test_every_field_has_a_variable() -> None:
    assert set(FROM_ENVIRONMENT) == {field.name for field in dataclasses.fields(Options)}


@pytest.mark.parametrize("name", FROM_ENVIRONMENT)
def test_field_is_read_from_its_variable(name: str) -> None:
    text, value = FROM_ENVIRONMENT[name]
    options = Options.from_environment({variable_of(name): text})
    assert options == dataclasses.replace(Options(), **{name: value})


def test_arguments_go_before_the_environment() -> None:
    environment = {"CROSSDOCK_TIMEOUT_S": "5", "CROSSDOCK_WINDOW": "64"}
    assert Options.from_environment(environment, timeout_s=7.0) == Options(timeout_s=7.0, window=64)


def test_an_empty_variable_is_no_value() -> None:
    assert Options.from_environment({"CROSSDOCK_NODE": ""}) == Options()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CROSSDOCK_WINDOW", "many"),
        ("CROSSDOCK_WINDOW", "G"),
        ("CROSSDOCK_PIN", "maybe"),
        ("CROSSDOCK_TIMEOUT_S", "soon"),
    ],
)
def test_unreadable_variable_is_named(variable: str, text: str) -> None:
    with pytest.raises(ArgumentError, match=f"{variable} is '{text}'"):
        Options.from_environment({variable: text})


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"transport": "carrier pigeon"}, ArgumentError, "must be one of auto, shm, tcp"),
        ({"timeout_s": 0}, ArgumentError, "timeout_s is 0"),
        ({"timeout_s": float("nan")}, ArgumentError, "timeout_s is nan"),
        ({"proxy_threads": -1}, CapacityError, "between 0 and 64"),
        ({"proxy_threads": True}, ArgumentError, "whole number"),
        ({"ring_slots": 3}, ArgumentError, "power of two"),
        ({"window": 1000}, ArgumentError, "power of two"),
        ({"window": 2.0}, ArgumentError, "whole number"),
        ({"heap_bytes": MAX_REGION_BYTES + 1}, CapacityError, str(MAX_REGION_BYTES)),
        ({"writes_per_peer": 0}, CapacityError, "writes_per_peer is 0"),
        ({"bytes_in_flight": 0}, CapacityError, "bytes_in_flight is 0"),
        ({"connections_per_peer": 0}, CapacityError, "connections_per_peer is 0"),
        (
            {"dump_signal": "SIGNONE"},
            ArgumentError,
            "dump_signal is .SIGNONE., but must be",
        ),
        ({"dump_dir": ""}, ArgumentError, "dump_dir is empty"),
        ({"rdma_devices": ""}, ArgumentError, "rdma_devices is empty"),
        ({"rdma_gid_index": 256}, CapacityError, "rdma_gid_index is 256"),
        ({"rdma_roce_version": "v3"}, ArgumentError, "rdma_roce_version is 'v3'"),
        ({"rdma_mtu_bytes": 9000}, CapacityError, "rdma_mtu_bytes is 9000"),
        ({"rdma_paths": 0}, CapacityError, "rdma_paths is 0"),
        ({"mend_s": -1.0}, ArgumentError, "mend_s is -1.0"),
        ({"node": ""}, ArgumentError, "node is empty"),
    ],
)
def test_bad_value_is_refused_with_its_limit(
    values: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Options(**values)


def test_options_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().timeout_s = 1.0  # type: ignore[misc]

"""The installer, run for real in a container."""

from __future__ import annotations

import pytest
from container import Container
from unit import install

FOLDERS = "/opt /etc/edge /etc/systemd/system /etc/sysusers.d /etc/tmpfiles.d"


def files(container: Container) -> set[str]:
    """All that is edge's, but for what the tests themselves need."""
    found = container.sh(f"find {FOLDERS} -path /opt/edge -o -path '*/edge*' -type f", check=False).splitlines()
    return {path for path in found if not path.startswith(("/opt/checkout", "/opt/python", "/opt/site"))} - {
        path for path in found if path.endswith(("edge-test.target", "test.conf"))
    }


@pytest.fixture(scope="module")
def machine(container: Container) -> Container:
    install(container)
    return container


def test_what_is_installed_is_in_order_for_systemd(machine: Container) -> None:
    assert machine.run("systemd-analyze", "verify", "edge.service") == ""
    assert machine.run("systemd-tmpfiles", "--create", "edge.conf") == ""
    assert machine.run("stat", "-c", "%a %U %G", "/etc/edge/edge.yaml") == "640 root edge\n"


def test_installed_again_it_keeps_the_config_and_names_a_device_that_the_service_may_not_open(
    machine: Container,
) -> None:
    machine.sh("echo '# mine' >> /etc/edge/edge.yaml; groupadd -f cameras; groupadd -f video")
    machine.sh("for n in 7 8; do mknod -m 660 /dev/video$n c 1 5; done")
    machine.sh("chgrp cameras /dev/video7; chgrp video /dev/video8")
    said = install(machine)
    machine.sh("rm /dev/video7 /dev/video8")
    assert "/etc/edge/edge.yaml is kept" in said
    assert machine.sh("tail -1 /etc/edge/edge.yaml") == "# mine\n"
    assert "/dev/video7 belongs to group cameras; let the service in: systemctl edit edge, Supp" in said
    assert "/dev/video8" not in said


def test_an_installation_that_was_interrupted_is_completed_by_the_next(machine: Container) -> None:
    machine.sh("rm -rf /opt/edge/lib/python*/site-packages/pip /opt/edge/bin/pip*")  # as before pip was there
    install(machine)
    assert machine.run("/opt/edge/bin/python", "-m", "pip", "--version").startswith("pip ")


@pytest.mark.parametrize("words", ["", "--uninstall"])
@pytest.mark.parametrize("place", ["/opt/edge/data", "/opt/edge/systemd"])
def test_a_folder_that_no_installation_made_is_left_as_it_is(machine: Container, place: str, words: str) -> None:
    machine.sh("mv /opt/edge /opt/edge.kept")
    try:
        machine.sh(f"mkdir -p {place}; echo mine > {place}/file; cp /opt/checkout/systemd/install.sh {place}")
        script = f"{place}/install.sh" if place.endswith("systemd") else "/opt/checkout/systemd/install.sh"
        said = machine.sh(f"PYTHON=/opt/python/bin/python3 {script} {words}", check=False)
        assert "Try: mv /opt/edge " in said
        assert machine.sh(f"cat {place}/file") == "mine\n"
    finally:
        machine.sh("rm -rf /opt/edge; mv /opt/edge.kept /opt/edge")


def test_a_users_account_that_has_the_services_name_is_told(machine: Container) -> None:
    machine.sh("usermod -s /bin/bash edge")
    try:
        assert "the user edge can log in" in install(machine)
    finally:
        machine.sh("usermod -s /usr/sbin/nologin edge")
    assert "can log in" not in install(machine)


def test_over_a_service_that_runs_it_says_to_restart_it(machine: Container) -> None:
    machine.sh("systemctl stop edge", check=False)  # other tests of this container may have left it running
    assert "Start it: systemctl enable --now edge " in install(machine)
    machine.sh("mkdir -p /run/systemd/system/edge.service.d")
    machine.write(  # read after what other tests have left in test.conf, which one of the same name would not be
        "/run/systemd/system/edge.service.d/zz-sleeps.conf",
        "[Service]\nType=simple\nWatchdogSec=0\nExecStart=\nExecStart=sleep 600\n",
    )
    machine.sh("systemctl daemon-reload; systemctl reset-failed edge; systemctl start edge")
    try:
        assert "Start it: systemctl restart edge " in install(machine)
    finally:
        machine.sh("systemctl stop edge; rm -r /run/systemd/system/edge.service.d; systemctl daemon-reload")


@pytest.mark.parametrize("words", ["--splitt", "--split --uninstall"])
def test_what_it_does_not_know_it_does_not_begin(machine: Container, words: str) -> None:
    before = files(machine)
    assert "usage:" in machine.sh(f"/opt/checkout/systemd/install.sh {words}", check=False)
    assert files(machine) == before


def test_split_takes_the_place_of_the_single_service_and_uninstalled_it_leaves_only_configs_and_data(
    machine: Container,
) -> None:
    install(machine, "--split")
    assert machine.run("systemd-analyze", "verify", "edge-infer.service", "edge-publish.service") == ""
    units = {path for path in files(machine) if path.startswith("/etc/systemd")}
    assert units == {f"/etc/systemd/system/edge-{half}.service" for half in ("infer", "publish")}
    machine.run("/opt/checkout/systemd/install.sh", "--uninstall")
    assert files(machine) == {f"/etc/edge/{name}.yaml" for name in ("edge", "infer", "publish")}

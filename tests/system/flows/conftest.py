# SPDX-License-Identifier: BSD-3-Clause
"""The oracle and the two ways in which Strait forwards, each started once for this folder."""

import pytest

from conftest import Lab

from . import sides


@pytest.fixture(scope="package")
def package_lab():
    made = Lab()
    yield made
    made.close()


@pytest.fixture(scope="package")
def ovs(package_lab):
    return package_lab.dummy_ovs()


@pytest.fixture(scope="package")
def traced(package_lab):
    return sides.Traced(package_lab)


@pytest.fixture(scope="package")
def live(package_lab):
    return sides.Live(package_lab)

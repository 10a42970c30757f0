# SPDX-License-Identifier: BSD-3-Clause
"""straitd as a service of a real systemd, and the Debian package: what it has, and how it comes,
is upgraded and goes. Each in a container: a systemd of the tests' own, over the machine's files."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest

import lab as parts

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNIT = "/lib/systemd/system/straitd.service"
OPTIONS = 'STRAITD_OPTIONS="--no-huge --memory 48 --workers 0"\n'


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The .deb of what was built."""
    try:
        return parts.debian_package(tmp_path_factory.mktemp("package"))
    except parts.Unavailable as reason:
        pytest.skip(str(reason))


def upgraded(package, folder):
    """The same with a higher version."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    text = control.read_text()
    control.write_text(re.sub(r"(?m)^(Version: .*)$", r"\1+1", text))
    made = folder / "strait_upgrade_amd64.deb"
    subprocess.run(["dpkg-deb", "-Znone", "-b", tree, made], check=True, capture_output=True)
    shutil.rmtree(tree)
    return made


class Host(parts.Container):
    """A container with the package installed, and the daemon started by it."""

    def __init__(self, package):
        super().__init__()
        try:
            pathlib.Path(f"/proc/{self.init}/root/etc/default/strait").write_text(OPTIONS)
            self.installed = self.dpkg("--force-confold -i", package)
        except parts.LabError:
            self.close()
            raise

    def path(self, path):
        """Of a file in here, from outside."""
        return pathlib.Path(f"/proc/{self.init}/root{path}")

    def dpkg(self, words, package=""):
        name = ""
        if package:
            name = "/tmp/strait.deb"
            shutil.copy(package, self.path(name))
        return self.sh(f"DEBIAN_FRONTEND=noninteractive dpkg {words} {name} < /dev/null")

    def ctl(self, words):
        output = self.sh(f"straitctl --json {words}")
        return json.loads(output) if output.strip() else None

    def pid(self):
        return int(self.properties("straitd", "MainPID")["MainPID"])

    def wait_new(self, before):
        """Until another daemon than that with this process number is ready."""
        def other():
            seen = self.properties("straitd", "MainPID", "ActiveState")
            return (seen["ActiveState"] == "active" and int(seen["MainPID"]) not in (0, before)
                    and self.run("straitctl version")[0] == 0)
        parts.wait_until(other, 30, "another straitd", 0.1)


@pytest.fixture(scope="module")
def host(package):
    try:
        made = Host(package)
    except parts.Unavailable as reason:
        pytest.skip(str(reason))
    yield made
    made.close()


@pytest.fixture(scope="module")
def bridge(host):
    host.ctl("bridge add br0")
    host.ctl("port add host0 --bridge br0 --type host --address 192.0.2.1/24")
    host.sh("set -e; ip link add near type veth peer name far; ip link set near up; "
            "ip netns add far; ip link set far netns far; "
            "ip -n far address add 192.0.2.2/24 dev far; ip -n far link set far up; "
            "ethtool -K near tx off > /dev/null; "
            "ip netns exec far ethtool -K far tx off > /dev/null")
    host.ctl("port add up0 --bridge br0 --type nic --device net_af_packet0,iface=near")
    host.ctl("port add vm1 --bridge br0 --type vhost-user --socket /run/strait/vm1.sock "
             "--socket-owner nobody:nogroup")
    return host


def test_the_unit_is_right_and_has_few_privileges(host):
    # It says what is wrong in the file, and fails where something is that it does not know.
    status, said = host.run(f"systemd-analyze verify --man=no {UNIT}")
    assert (status, said) == (0, "")
    status, said = host.run("systemd-analyze security --no-pager --threshold=30 straitd")
    assert status == 0, said
    seen = host.properties("straitd", "Type", "NotifyAccess", "Restart", "WatchdogUSec",
                           "LimitMEMLOCK", "StatusText")
    assert seen == {"Type": "notify", "NotifyAccess": "main", "Restart": "on-failure",
                    "WatchdogUSec": "1min", "LimitMEMLOCK": "infinity",
                    "StatusText": seen["StatusText"]}
    status = host.path(f"/proc/{host.pid()}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    # chown, dac_override, fowner, net_admin, net_raw, ipc_lock
    kept = sum(1 << n for n in (0, 1, 3, 12, 13, 14))
    assert int(fields["CapEff"], 16) & ~kept == 0 and int(fields["CapBnd"], 16) & ~kept == 0
    assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2"


def test_ports_of_each_kind_work_with_these_privileges(bridge):
    bridge.sh("ping -c 2 -i 0.2 -W 5 192.0.2.2")
    owner = bridge.sh("stat -c '%U:%G %a' /run/strait/vm1.sock")
    assert owner == "nobody:nogroup 660\n"
    bridge.ctl("mirror add seen --select-src-port up0 --output-file /var/log/strait/seen.pcapng")
    bridge.sh("ping -c 1 -W 5 192.0.2.2")
    bridge.ctl("mirror del seen")
    assert int(bridge.sh("stat -c %s /var/log/strait/seen.pcapng")) > 100
    # And it cannot do what it need not.
    status, said = bridge.run("straitctl mirror add bad --select-src-port up0 "
                              "--output-file /usr/bad.pcapng")
    assert status == 1 and "Read-only file system" in said, said


def test_systemd_hears_what_it_does(bridge):
    def said():
        return bridge.properties("straitd", "StatusText")["StatusText"]
    parts.wait_until(lambda: said() == "1 worker on CPU 0; 3 ports, 2 of them with a link", 5,
                     "the status of three ports", 0.2)


@pytest.mark.parametrize("how", ["killed", "silent"])
def test_one_that_ends_or_hangs_is_started_anew_with_its_configuration(bridge, how):
    before = bridge.pid()
    outside = int(re.search(r"(?m)^NSpid:\t(\d+)", pathlib.Path(
        f"/proc/{bridge.init}/root/proc/{before}/status").read_text()).group(1))
    assert outside == before  # as its own /proc sees it
    if how == "killed":
        bridge.sh(f"kill -KILL {before}")
    else:
        # The timer of a running service follows what is set from its next keep-alive on.
        bridge.path("/run/systemd/system/straitd.service.d").mkdir(parents=True)
        bridge.path("/run/systemd/system/straitd.service.d/quick.conf").write_text(
            "[Service]\nWatchdogSec=2s\n")
        bridge.sh("systemctl daemon-reload; systemctl restart straitd")
        before = bridge.pid()
        bridge.sh(f"kill -STOP {before}")
    bridge.wait_new(before)
    assert len(bridge.ctl("port list")) == 3
    bridge.sh("ping -c 5 -i 0.3 -W 1 192.0.2.2 || ping -c 1 -W 5 192.0.2.2")
    log = bridge.sh("journalctl --no-pager -u straitd")
    assert ("Watchdog timeout" in log) == (how == "silent")


def test_an_upgrade_restarts_it_and_guests_go_on(bridge, package, tmp_path, lab):
    shutil.rmtree(bridge.path("/run/systemd/system/straitd.service.d"), ignore_errors=True)
    guest = lab.guest(parts.Nic(bridge.path("/run/strait/vm1.sock"), "52:54:00:00:00:01"),
                      "192.0.2.3", boot_timeout=120)
    guest.sh("busybox ping -c 3 -W 2 192.0.2.2")
    before = bridge.pid()
    said = bridge.dpkg("-i", upgraded(package, tmp_path))
    assert "Unpacking strait" in said and "over (" in said, said
    bridge.wait_new(before)
    # QEMU tries every second to connect again.
    parts.wait_until(lambda: guest.run("busybox ping -c 1 -W 1 192.0.2.2")[0] == 0, 20,
                     "the guest behind the new daemon")
    assert bridge.sh("dpkg-query -W -f '${Version}' strait").endswith("+1")
    assert bridge.path("/etc/default/strait").read_text() == OPTIONS
    assert len(bridge.ctl("port list")) == 3


def test_removed_it_is_gone_and_purged_so_is_what_it_kept(bridge):
    bridge.dpkg("-r strait")
    assert bridge.run("systemctl is-active straitd")[1].strip() == "inactive"
    assert not bridge.path("/usr/sbin/straitd").exists()
    assert bridge.path("/etc/default/strait").exists()
    assert list(bridge.path("/var/lib/strait").iterdir())
    bridge.dpkg("-P strait")
    for path in ("/etc/default/strait", "/etc/xen/scripts/vif-strait", "/var/lib/strait",
                 "/run/strait", "/etc/systemd/system/multi-user.target.wants/straitd.service",
                 "/etc/systemd/system/straitd.service", "/usr/share/doc/strait"):
        assert not bridge.path(path).exists() and not bridge.path(path).is_symlink(), path
    assert bridge.run("dpkg-query -W strait")[0] == 1


def test_libvirt_takes_the_example_and_lets_qemu_have_the_socket():
    try:
        libvirt = parts.assets().libvirt
    except parts.Unavailable as reason:
        pytest.skip(str(reason))
    example = ROOT / "packaging/libvirt/guest.xml"
    if shutil.which("xmllint"):
        done = subprocess.run(["xmllint", "--noout", "--relaxng",
                               libvirt / "usr/share/libvirt/schemas/domain.rng", example],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    # The domain is what docs/deploying.md shows a part of.
    page = (ROOT / "docs/deploying.md").read_text()
    shown = re.search(r"```xml\n(.*?)```", page, re.S).group(1).replace("...\n", "")
    whole = [line.strip() for line in example.read_text().splitlines()]
    assert [line for line in shown.splitlines() if line.strip() not in whole] == []
    # What libvirt runs to make the guest's AppArmor profile, from the domain.
    name = "libvirt-4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
    domain = example.read_text().replace(
        "</name>", f"</name><uuid>{name.removeprefix('libvirt-')}</uuid>")
    done = subprocess.run(
        [libvirt / "usr/lib/libvirt/virt-aa-helper", "--create", "--dryrun", "-u", name],
        input=domain, capture_output=True, text=True,
        env={"LD_LIBRARY_PATH": str(libvirt / "usr/lib/x86_64-linux-gnu")})
    if "error while loading shared libraries" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert '"/run/strait/vm1.sock" rw,' in done.stdout + done.stderr, done.stderr


def test_lintian_finds_no_fault(package):
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    done = subprocess.run(["lintian", "--fail-on", "error,warning", "--suppress-tags",
                           # Who makes a package for others says who maintains it.
                           "bogus-mail-host,bogus-mail-host-in-debian-changelog", package],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_what_the_package_has(package):
    fields = dict(re.findall(r"(?m)^ (\w[\w-]*): (.*)$", subprocess.run(
        ["dpkg-deb", "-I", package], capture_output=True, text=True, check=True).stdout))
    assert re.fullmatch(r"strait_[\d.]+_amd64\.deb", package.name)
    assert fields["Package"] == "strait" and fields["Architecture"] == "amd64"
    needed = {entry.split()[0] for entry in fields["Depends"].split(",")}
    assert {"libc6", "libpcap0.8", "libxengnttab1", "libboost-json1.81.0"} <= needed, needed
    listed = subprocess.run(["dpkg-deb", "-c", package], capture_output=True, text=True,
                            check=True).stdout
    files = {line.split()[5]: line.split()[:2] for line in listed.splitlines()}
    for path, mode in {
            "./usr/sbin/straitd": "-rwxr-xr-x", "./usr/bin/straitctl": "-rwxr-xr-x",
            "./usr/bin/strait-vmm": "-rwxr-xr-x", "./etc/xen/scripts/vif-strait": "-rwxr-xr-x",
            "./lib/systemd/system/straitd.service": "-rw-r--r--",
            "./etc/default/strait": "-rw-r--r--",
            "./usr/share/bash-completion/completions/straitctl": "-rw-r--r--",
            "./usr/share/man/man8/straitd.8.gz": "-rw-r--r--",
            "./usr/share/man/man1/straitctl.1.gz": "-rw-r--r--",
            "./usr/share/doc/strait/copyright": "-rw-r--r--",
            "./usr/share/doc/strait/changelog.gz": "-rw-r--r--"}.items():
        assert files[path] == [mode, "root/root"], path
    # A simulator and a load generator are none of a host's.
    assert not [path for path in files if re.search("generator|simulator|bench", path)]

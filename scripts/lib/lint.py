# SPDX-License-Identifier: BSD-3-Clause
"""What every file of the tree must be, beyond what compilers check; prints one line a fault."""

import pathlib
import re
import shutil
import subprocess
import sys

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_CODE = (".hh", ".cc", ".py", ".sh", ".cmake")

# Guest memory is read and written through guest_span only. Pointers into it come from the vhost
# library's calls and fields below; the files named here make guest_spans of them, no more.
_GUEST_POINTERS = re.compile(
    r"\b(rte_vhost_va_from_guest_pa|rte_vhost_gpa_to_vva|host_user_addr|mmap_addr|"
    r"rte_vhost_get_vhost_vring|rte_vhost_get_vhost_ring_inflight)\b")
_MAY_HOLD_GUEST_POINTERS = ("dataplane/guest_span.hh", "dataplane/guest_span.cc",
                            "ports/vhost/connection.cc")
_GUEST_READS = re.compile(
    r"\bvring\w*(\.|->)(desc|avail|used|desc_packed|driver_event|device_event)\s*(->|\[)|"
    r"\*\s*vring\w*(\.|->)(desc|avail|used|desc_packed|driver_event|device_event)\b")


def files():
    listed = subprocess.run(["git", "-C", _ROOT, "-c", f"safe.directory={_ROOT}", "ls-files"],
                            capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        names = listed.stdout.split()
    else:
        names = [str(path.relative_to(_ROOT)) for path in _ROOT.rglob("*")
                 if path.is_file() and not path.relative_to(_ROOT).parts[0].startswith("build")]
    return [name for name in names if (_ROOT / name).is_file()]


def lint(name, text):
    """Faults of one file, as (line number, what is wrong)."""
    lines = text.splitlines()
    if name.endswith(_CODE) or lines[:1] and lines[0].startswith("#!"):
        if not any("SPDX-License-Identifier: BSD-3-Clause" in line for line in lines[:2]):
            yield 1, "no SPDX line: start with SPDX-License-Identifier: BSD-3-Clause"
    if name.endswith(".hh") and "#pragma once" not in lines:
        yield 1, "no #pragma once"
    for number, line in enumerate(lines, 1):
        if name.endswith((".hh", ".cc", ".py")) and len(line) > 100:
            yield number, f"{len(line)} columns: 100 at most"
        if name.endswith((".hh", ".cc", ".py")) and line != line.rstrip():
            yield number, "blanks at the end of the line"
        if "\t" in line and name.endswith((".hh", ".cc", ".py")):
            yield number, "a tab: indent by blanks"
        if name.endswith((".hh", ".cc")) and re.search(r"\b(TODO|FIXME|XXX)\b", line):
            yield number, "a note of something undone: do it, or file it"
        if name.startswith("ports/") and _GUEST_READS.search(line):
            yield number, "guest memory read through a raw pointer: use guest_span or guest_array"
        if (name.startswith(("dataplane/", "ports/", "control/"))
                and name not in _MAY_HOLD_GUEST_POINTERS
                and _GUEST_POINTERS.search(line.split("//")[0])):
            yield number, ("a raw pointer into guest memory: only " +
                           ", ".join(_MAY_HOLD_GUEST_POINTERS) + " may hold one")


def packages():
    """Each package that scripts install has its reason in docs/dependencies.md."""
    reasons = (_ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    listed = (_ROOT / "scripts/lib/packages.txt").read_text(encoding="utf-8").splitlines()
    for line in listed:
        if line and not line.startswith("#") and f"`{line.split()[1]}`" not in reasons:
            yield f"docs/dependencies.md: no reason given for {line.split()[1]}"


def drop_reasons():
    """Each drop reason is in docs/drops.md, and nothing else is."""
    code = (_ROOT / "dataplane/drop_reason.cc").read_text(encoding="utf-8")
    page = (_ROOT / "docs/drops.md").read_text(encoding="utf-8")
    named = set(re.findall(r'^\s*\{(\w+), "\1"', code, re.M))
    described = set(re.findall(r"^\| `(\w+)`", page, re.M))
    for reason in sorted(named - described):
        yield f"docs/drops.md: the drop reason {reason} is missing"
    for reason in sorted(described - named):
        yield f"docs/drops.md: there is no drop reason {reason}"


def formatting():
    """Each C++ file is as .clang-format has it; one fault a file, at its first line."""
    # By its version: others lay out some lines otherwise.
    program = shutil.which("clang-format-14")
    if program is None:
        print("clang-format-14 is not installed: the formatting of C++ was not checked")
        return
    code = [name for name in files() if name.endswith((".hh", ".cc"))]
    done = subprocess.run([program, "--dry-run", *code], cwd=_ROOT, stderr=subprocess.PIPE,
                          text=True, check=False)
    seen = set()
    for name, number in re.findall(r"^(.+?):(\d+):\d+: warning: .*clang-format", done.stderr, re.M):
        if name not in seen:
            seen.add(name)
            yield f"{name}:{number}: not formatted: clang-format-14 -i {name}"
    if done.returncode and not seen:
        yield f"clang-format-14 failed: {done.stderr.strip()}"


def main():
    faults = [*packages(), *drop_reasons(), *formatting()]
    count = 0
    for name in files():
        try:
            text = (_ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        count += 1
        faults += [f"{name}:{number}: {what}" for number, what in lint(name, text)]
    for fault in faults:
        print(fault)
    print(f"{count} files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: BSD-3-Clause
"""summary.py FOLDER SECONDS FAILED-STAGE...: the last lines of scripts/test, from JUnit files."""

import collections
import pathlib
import re
import sys
import xml.etree.ElementTree as xml


def reason(case):
    """Why a test was skipped, in its own words."""
    skipped = case.find("skipped")
    if case.get("result") == "suppressed":
        return "disabled; docs/threats.md says why"
    text = skipped.get("message", "") if skipped is not None else ""
    # GoogleTest says "file:line" first, pytest "Skipped: ".
    text = re.sub(r"^\S+:\d+\s+", "", text).removeprefix("Skipped: ")
    return " ".join(text.split()) or "no reason given"


def complaint(case):
    """What a failed test said, on one line: logs may be gone when somebody reads this."""
    texts = []
    for kind in ("failure", "error"):
        for element in case.iterfind(kind):
            texts.append(" ".join((element.get("message") or element.text or "").split()))
    text = "; ".join(texts)
    return text if len(text) <= 600 else f"{text[:300]} [...] {text[-300:]}"


AGAIN = "-again"


def failed_in(case):
    return case.find("failure") is not None or case.find("error") is not None


def name_of(stem, case):
    return f"{stem}: {case.get('classname', '')}.{case.get('name')}"


def main():
    folder, seconds, failed_stages = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    passed, slow, failed = 0, [], []
    skipped, repeated = collections.defaultdict(list), collections.defaultdict(list)
    # By what had failed: how it ended when it was done again.
    again = {name_of(path.stem.removesuffix(AGAIN), case): case
             for path in folder.glob(f"*{AGAIN}.xml") for case in xml.parse(path).iter("testcase")}
    for path in sorted(folder.glob("*.xml")):
        if path.stem.endswith(AGAIN):
            continue
        for case in xml.parse(path).iter("testcase"):
            name = name_of(path.stem, case)
            if failed_in(case) and name in again:
                repeated["it had failed: " + complaint(case)].append(name)
                case = again[name]
            if (case.find("skipped") is not None
                    or case.get("result") in ("skipped", "suppressed")):
                skipped[reason(case)].append(name)
            elif failed_in(case):
                failed.append(f"{name}: {complaint(case)}")
            else:
                passed += 1
            for why in case.iterfind("properties/property[@name='repeated']"):
                repeated[why.get("value")].append(name)
            slow.append((float(case.get("time", 0)), name))
    print("\nslowest tests:")
    for time, name in sorted(slow, reverse=True)[:10]:
        print(f"  {time:7.1f} s  {name}")
    for done, reasons in (("skipped", skipped), ("done twice", repeated)):
        for why, names in sorted(reasons.items()):
            print(f"{done}, {why}:")
            for name in names:
                print(f"  {name}")
    for name in failed:
        print(f"FAILED  {name}")
    for stage in failed_stages:
        print(f"FAILED  stage: {stage}")
    count = sum(map(len, skipped.values()))
    print(f"\n{passed} passed, {len(failed)} failed, {count} skipped in {seconds // 60} min "
          f"{seconds % 60} s")
    return 1 if failed or failed_stages else 0


if __name__ == "__main__":
    sys.exit(main())

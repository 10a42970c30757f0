# SPDX-License-Identifier: BSD-3-Clause
"""What a real bash completes of straitctl's words, beside a daemon and without one."""

import subprocess

import pytest

from lab.switch import binaries

# What bash does when TAB is pressed behind a line: it splits the words as readline does, calls the
# function, and has its answers.
COMPLETE = r"""
set -u
PATH=$1:$PATH
eval "$(straitctl completion bash)"
function=$(complete -p straitctl | sed 's/.*-F \([^ ]*\) .*/\1/')
COMP_LINE=$2
COMP_POINT=${#COMP_LINE}
read -r -a COMP_WORDS <<< "${COMP_LINE//=/ = }"
case $COMP_LINE in *[\ =]) COMP_WORDS+=("") ;; esac
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
cd "$3"
"$function" straitctl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


def completed(line, folder="/"):
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", str(binaries()), f"straitctl {line}", folder],
        capture_output=True, text=True, timeout=20, check=True)
    assert "compopt" not in done.stderr or "not currently" in done.stderr, done.stderr
    return [word for word in done.stdout.splitlines() if word]


def test_commands_options_and_choices_are_the_tables():
    assert completed("po") == ["port"]
    assert {"add", "del", "list", "set", "show"} <= set(completed("port "))
    assert completed("port l") == ["list"]
    assert completed("port add vm1 --ty") == ["--type"]
    assert "vhost-user" in completed("port add vm1 --type ")
    assert completed("port add vm1 --type vh") == ["vhost-user"]
    assert completed("port add vm1 --type=vh") == ["vhost-user"]
    assert "--type" not in completed("port add vm1 --type nic --")  # it is given
    assert {"--rates", "--watch"} <= set(completed("stats --"))
    assert completed("help dr") == ["drops"]
    assert completed("port nothing ") == []


def test_names_are_those_of_the_running_daemon(lab):
    switch = lab.switch(workers="0")
    at = f"--run-dir {switch.run_dir} "
    for bridge in ("inner", "outer"):
        switch.ctl("bridge", "add", bridge)
    switch.add_nic("up0", "net_null0,no-rx=1", bridge="outer")
    switch.add_nic("up1", "net_null1,no-rx=1", bridge="outer")
    assert completed(at + "port show ") == ["up0", "up1"]
    assert completed(at + "port show up1") == ["up1"]
    assert completed(at + "bridge del ou") == ["outer"]
    assert completed(at + "mac list --bridge i") == ["inner"]
    assert completed(at + "port add ") == []  # a new one
    switch.stop()
    assert completed(at + "port show ") == []


@pytest.fixture
def files(tmp_path):
    (tmp_path / "rules.txt").touch()
    (tmp_path / "rules with blanks.txt").touch()
    return str(tmp_path)


def test_files_are_completed_where_a_file_is_meant(files):
    assert sorted(completed("config apply ru", files)) == ["rules with blanks.txt", "rules.txt"]
    assert completed("port show ru", files) == []

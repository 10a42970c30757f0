# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# Runs the commands that come down $port, until it is closed. A command is a line "number seconds
# base64"; its answer is a line "@number status base64-of-output". Any shell, in any place that has
# busybox in its PATH, /run to write to, and $port as descriptor 3.
echo "@0 0 " >&3
# Who reads there has no children: busybox's read forgets what it has of a line when one ends.
while read -r line <&3; do
    echo "$line"
done | while read -r number seconds command; do
    echo "$command" | base64 -d > /run/command."$number"
    (
        timeout -k 1 "$seconds" sh /run/command."$number" > /run/output."$number" 2>&1 \
            < /dev/null 3>&-
        status=$?
        until mkdir /run/answering 2> /dev/null; do
            busybox usleep 1000
        done
        printf '@%s %s %s\n' "$number" "$status" "$(base64 -w0 < /run/output."$number")" >&3
        rmdir /run/answering
        rm -f /run/command."$number" /run/output."$number"
    ) &
done

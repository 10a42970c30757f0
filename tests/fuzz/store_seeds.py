#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of store_fuzz: snapshots and journals, whole and broken, and documents.
Usage: store_seeds.py [FOLDER]; the input's form is in the target."""

import zlib

import corpus


def frame(number, text):
    crc = zlib.crc32(str(number).encode() + text)
    return b"@%08x %d %d\n%s\n" % (crc, len(text), number, text)


def snapshot(*texts):
    return b"\0strait-store 1 snapshot\n" + b"".join(
        frame(number, text) for number, text in enumerate(texts, 1))


def journal(*texts, behind=False, padding=0):
    return (b"\2" if behind else b"\1") + b"strait-store 1 journal\n" + b"".join(
        frame(number, text) for number, text in enumerate(texts, 1)) + bytes(padding)


PORT = b'+ports a\t{"name":"a","bridge":"br0"}\n'
FLOW = b"+flows br0 0 5 tcp\tpriority=5,tcp actions=drop\n"

SEEDS = {
    "snapshot": snapshot(PORT + FLOW + b"=2\n"),
    "snapshot_of_frames": snapshot(PORT, FLOW, b"=2\n"),
    "snapshot_counts_wrong": snapshot(PORT + b"=2\n"),
    "snapshot_without_end": snapshot(PORT),
    "snapshot_newer": snapshot(b"=0\n").replace(b" 1 ", b" 2 ", 1),
    "journal": journal(PORT, FLOW, b"-ports a\n*flows br0 \n", padding=40),
    "journal_behind": journal(b"*ports \n" + PORT, behind=True),
    "journal_torn": journal(PORT, FLOW)[:-9] + bytes(30),
    "journal_changed": journal(PORT, FLOW).replace(b'"a"', b'"b"', 1),
    "journal_blank": b"\1" + bytes(100),
    "journal_lines": journal(b"?\n", b"+no tab\n"),
    "journal_number": journal(PORT)[:1] + b"strait-store 1 journal\n" + frame(2, PORT),
    "document": b'\3{"version": 1, "ports": [{"name": "a"}, '
                b'{"n\\u0061me": "b", "trunk": [1, "2"]}]}',
    "document_odd": b'\3 [[], {}, "]}\\"", {"a": {"": null}}, -1.5e3 ]',
    "document_cut": b'\3{"ports": [{"name": "a"},',
}

if __name__ == "__main__":
    corpus.write(__file__, SEEDS.items())

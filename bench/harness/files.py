# SPDX-License-Identifier: BSD-3-Clause
# Where reports go.

import pathlib
import sys

from . import hypervisors, page, report
from .machine import BenchError
from .results import Results, peers_of


def _write(path, text):
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        pathlib.Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{path} cannot be written: {error.strerror}") from error


def write_reports(document, html_file, markdown_file):
    if html_file:
        _write(html_file, page.render(document))
    if markdown_file:
        results = Results(document["trials"])
        text = report.markdown(document, results, peers_of(document))
        if hypervisors.concerns(document):
            text += hypervisors.markdown(document, results)
        _write(markdown_file, text)

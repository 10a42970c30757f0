# SPDX-License-Identifier: BSD-3-Clause
# What strait-bench is made of. From below: the machine and its facts; peers, each a switch;
# generators; scenarios; search and statistics on bare numbers; the runner, which makes trials of
# all these; results, and what is made of them: report, charts, page, compare; the command line.

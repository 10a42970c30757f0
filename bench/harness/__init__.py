# SPDX-License-Identifier: BSD-3-Clause
# What bench/v2v is made of: the machine, the switches under comparison, the generators, the
# scenarios and the report.

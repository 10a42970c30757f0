// SPDX-License-Identifier: BSD-3-Clause
// The subsystem stands in front of the line, as DPDK's own parts put theirs.
#include "ports/log.hh"

#include <algorithm>

#include <rte_log.h>

namespace strait::ports {

namespace {

void write(std::uint32_t level, const char* subsystem, std::string& line) noexcept
{
    std::ranges::replace_if(
        line, [](char c) { return c < ' ' || c > '~'; }, '?');
    rte_log(level, RTE_LOGTYPE_USER1, "%s: %s\n", subsystem, line.c_str());
}

} // namespace

void log_warning(const char* subsystem, std::string line) noexcept
{
    write(RTE_LOG_WARNING, subsystem, line);
}

void log_notice(const char* subsystem, std::string line) noexcept
{
    write(RTE_LOG_NOTICE, subsystem, line);
}

} // namespace strait::ports

// SPDX-License-Identifier: BSD-3-Clause
#include "control/driver_log.hh"

#include "control/log.hh"

#include <array>
#include <cstdarg>
#include <cstdio>
#include <string_view>

#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

namespace strait::control {

namespace {

// They warn of what is no harm: a kernel without bpffs, sections that they do not need. What fails
// is told by the driver.
[[gnu::format(printf, 2, 0)]] int log_line(const char* subsystem, const char* format,
                                           std::va_list arguments)
{
    std::array<char, 512> text{};
    const int size = std::vsnprintf(text.data(), text.size(), format, arguments);
    std::string_view line{text.data()};
    if (line.ends_with('\n')) {
        line.remove_suffix(1);
    }
    log(log_level::debug, subsystem, line);
    return size;
}

[[gnu::format(printf, 2, 0)]] int log_of_bpf(libbpf_print_level /*level*/, const char* format,
                                             std::va_list arguments)
{
    return log_line("bpf", format, arguments);
}

[[gnu::format(printf, 2, 0)]] int log_of_xdp(libxdp_print_level /*level*/, const char* format,
                                             std::va_list arguments)
{
    return log_line("xdp", format, arguments);
}

} // namespace

void lead_driver_log_here()
{
    libbpf_set_print(log_of_bpf);
    libxdp_set_print(log_of_xdp);
}

} // namespace strait::control

// SPDX-License-Identifier: BSD-3-Clause
// A SIGBUS handler. What it reads is lock-free, and it calls nothing but what puts the terminal
// back, writev and _exit.
#include "vmm/memory_loss.hh"

#include "vmm/exit_status.hh"
#include "vmm/stdio.hh"

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>

#include <sys/uio.h>
#include <unistd.h>

namespace strait::vmm {

namespace {

struct range {
    std::atomic<std::uintptr_t> begin{0};
    std::atomic<std::uintptr_t> end{0};
};
std::array<range, 2> guest; // RAM has no more parts
std::atomic<bool> of_huge_pages{false};

bool is_guests(const void* where) noexcept
{
    const auto address = reinterpret_cast<std::uintptr_t>(where);
    for (const range& r : guest) {
        if (address >= r.begin && address < r.end) {
            return true;
        }
    }
    return false;
}

const char* meaning_of(const siginfo_t& what) noexcept
{
    if (what.si_code <= 0) {
        return "somebody sent its VMM a SIGBUS";
    }
    if (what.si_code == BUS_MCEERR_AR || what.si_code == BUS_MCEERR_AO) {
        return "the host's memory has an error that its hardware cannot correct";
    }
    return is_guests(what.si_addr) ? loss_of_guest_memory()
                                   : "a page of its VMM cannot be read any more";
}

void on_sigbus(int /*number*/, siginfo_t* info, void* /*context*/)
{
    std::array<const char*, 3> parts{"strait-vmm: the guest cannot go on: ", meaning_of(*info),
                                     "\n"};
    std::array<iovec, parts.size()> line{};
    for (std::size_t i = 0; i < parts.size(); ++i) {
        line[i] = {const_cast<char*>(parts[i]), std::strlen(parts[i])}; // NOLINT: it only reads
    }
    [[maybe_unused]] const ssize_t ignored = ::writev(STDERR_FILENO, line.data(), line.size());
    put_stdio_back();
    ::_exit(static_cast<int>(exit_status::failed));
}

} // namespace

void explain_losses(std::span<const memory::region> ram, bool huge_pages) noexcept
{
    of_huge_pages = huge_pages;
    for (std::size_t i = 0; i < guest.size(); ++i) {
        guest[i].begin = i < ram.size() ? ram[i].mapped_at : 0;
        guest[i].end = i < ram.size() ? ram[i].mapped_at + ram[i].bytes : 0;
    }
    struct sigaction action {};
    action.sa_sigaction = on_sigbus;
    action.sa_flags = SA_SIGINFO;
    (void)::sigaction(SIGBUS, &action, nullptr);
}

const char* loss_of_guest_memory() noexcept
{
    return of_huge_pages ? "a huge page of its memory was taken away, by a back end that shares "
                           "it, and none is free to replace it (sysctl vm.nr_hugepages)"
                         : "a page of its memory cannot be had";
}

} // namespace strait::vmm

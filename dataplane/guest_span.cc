// SPDX-License-Identifier: BSD-3-Clause
// Files into guest memory, and surviving the loss of it: the ranges that may go, and the SIGBUS
// handler that puts private pages in place of one that went. What the handler reads is lock-free,
// and it calls nothing but mmap, open, read and close.
#include "dataplane/guest_span.hh"

#include "dataplane/types.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <mutex>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>

namespace strait::dataplane {

namespace {

// A port has at most 8 regions and a dirty log, twice as many while these change, and a file of
// ring positions.
constexpr std::size_t max_ranges = max_ports * 19;

struct guarded_range {
    // 0: free. Written last when a range is added, first when it goes.
    std::atomic<std::uintptr_t> begin{0};
    std::atomic<std::uintptr_t> end{0};
    std::atomic<std::atomic<bool>*> lost{nullptr};
};

std::array<guarded_range, max_ranges> ranges;
std::atomic<std::size_t> ranges_end{0}; // no slot at or beyond it was ever used
std::mutex ranges_mutex;

thread_local std::atomic<bool>* unregistered_lost = nullptr;

struct sigaction previous_action;

guarded_range* find_range(std::uintptr_t address) noexcept
{
    const std::size_t count = ranges_end.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < count; ++i) {
        guarded_range& r = ranges[i];
        const std::uintptr_t begin = r.begin.load(std::memory_order_acquire);
        if (begin != 0 && address >= begin && address < r.end.load(std::memory_order_relaxed)) {
            return &r;
        }
    }
    return nullptr;
}

bool replace(std::uintptr_t begin, std::size_t size) noexcept
{
    // No huge pages and no reservation: it is there to be read as zeros for a moment.
    return ::mmap(reinterpret_cast<void*>(begin), size, PROT_READ | PROT_WRITE, // NOLINT
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

// Finds the mapping that holds `address` in /proc/self/maps, if it is a shared one of a file, with
// nothing that a signal handler may not call. Lines are "begin-end perms ...".
class mapping_finder {
public:
    explicit mapping_finder(std::uintptr_t address) noexcept : address_{address} {}

    bool find() noexcept
    {
        const int fd = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            return false;
        }
        char buffer[4096];
        ssize_t size = 0;
        bool found = false;
        while (!found && (size = ::read(fd, buffer, sizeof(buffer))) > 0) {
            for (ssize_t i = 0; i < size && !found; ++i) {
                found = take(buffer[i]);
            }
        }
        ::close(fd);
        return found;
    }
    [[nodiscard]] std::uintptr_t begin() const noexcept { return begin_; }
    [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }

private:
    enum class part : std::uint8_t { begin, end, permissions, rest };

    bool take(char c) noexcept
    {
        if (c == '\n') {
            part_ = part::begin;
            begin_ = end_ = 0;
            return false;
        }
        switch (part_) {
        case part::begin:
            if (c == '-') {
                part_ = part::end;
            } else {
                begin_ = begin_ * 16 + digit(c);
            }
            return false;
        case part::end:
            if (c == ' ') {
                part_ = part::permissions;
                column_ = 0;
            } else {
                end_ = end_ * 16 + digit(c);
            }
            return false;
        case part::permissions:
            if (column_++ < 3) {
                return false;
            }
            part_ = part::rest;
            return c == 's' && address_ >= begin_ && address_ < end_;
        case part::rest:
            return false;
        }
        return false;
    }
    static std::uintptr_t digit(char c) noexcept
    {
        return static_cast<std::uintptr_t>(c >= 'a' ? c - 'a' + 10 : c - '0');
    }

    std::uintptr_t address_;
    std::uintptr_t begin_{0};
    std::uintptr_t end_{0};
    int column_{0};
    part part_{part::begin};
};

bool survive(std::uintptr_t address) noexcept
{
    if (guarded_range* const r = find_range(address)) {
        const std::uintptr_t begin = r->begin.load(std::memory_order_relaxed);
        if (!replace(begin, r->end.load(std::memory_order_relaxed) - begin)) {
            return false;
        }
        r->lost.load(std::memory_order_relaxed)->store(true, std::memory_order_release);
        return true;
    }
    if (unregistered_lost != nullptr) {
        mapping_finder mapping{address};
        if (mapping.find() && replace(mapping.begin(), mapping.size())) {
            unregistered_lost->store(true, std::memory_order_release);
            return true;
        }
    }
    return false;
}

void on_sigbus(int number, siginfo_t* info, void* context)
{
    const int saved_errno = errno;
    // A code above 0 is a fault; else somebody sent the signal.
    const bool survived =
        info->si_code > 0 && survive(reinterpret_cast<std::uintptr_t>(info->si_addr));
    errno = saved_errno;
    if (survived) {
        return;
    }
    if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
        previous_action.sa_sigaction(number, info, context);
    } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
        previous_action.sa_handler(number);
    } else {
        // A fault comes again when this returns, and ends the process as it would have at once; a
        // signal that was sent must be sent again.
        struct sigaction action {};
        action.sa_handler = SIG_DFL;
        ::sigaction(SIGBUS, &action, nullptr);
        if (info->si_code <= 0) {
            ::raise(SIGBUS);
        }
    }
}

} // namespace

// Spans as the kernel takes them.
class file_spans {
public:
    explicit file_spans(std::span<const guest_span> spans) noexcept
        : count_{std::min(spans.size(), max_file_spans)}
    {
        for (std::size_t i = 0; i < count_; ++i) {
            parts_[i] = {spans[i].base_, spans[i].size_};
        }
    }
    [[nodiscard]] const iovec* data() const noexcept { return parts_.data(); }
    [[nodiscard]] int count() const noexcept { return static_cast<int>(count_); }

private:
    std::size_t count_;
    std::array<iovec, max_file_spans> parts_; // so many of them
};

guest_range_registration::guest_range_registration(void* base, std::size_t size,
                                                   std::atomic<bool>& lost)
{
    const auto begin = reinterpret_cast<std::uintptr_t>(base);
    const std::scoped_lock lock{ranges_mutex};
    std::size_t slot = 0;
    while (slot < max_ranges && ranges[slot].begin.load(std::memory_order_relaxed) != 0) {
        ++slot;
    }
    if (slot == max_ranges) {
        throw std::length_error{"no room to guard another range of guest memory"};
    }
    ranges[slot].end.store(begin + size, std::memory_order_relaxed);
    ranges[slot].lost.store(&lost, std::memory_order_relaxed);
    ranges[slot].begin.store(begin, std::memory_order_release);
    if (slot >= ranges_end.load(std::memory_order_relaxed)) {
        ranges_end.store(slot + 1, std::memory_order_release);
    }
    slot_ = slot + 1;
}

guest_range_registration::guest_range_registration(guest_range_registration&& other) noexcept
    : slot_{std::exchange(other.slot_, 0)}
{}

guest_range_registration&
guest_range_registration::operator=(guest_range_registration&& other) noexcept
{
    std::swap(slot_, other.slot_);
    return *this;
}

guest_range_registration::~guest_range_registration()
{
    if (slot_ != 0) {
        ranges[slot_ - 1].begin.store(0, std::memory_order_release);
    }
}

void guest_range_registration::install_handler()
{
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action {};
        action.sa_sigaction = on_sigbus;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigemptyset(&action.sa_mask);
        if (::sigaction(SIGBUS, &action, &previous_action) != 0) {
            throw std::runtime_error{"cannot install the SIGBUS handler"};
        }
    });
}

void survive_unregistered_faults(std::atomic<bool>* lost) noexcept
{
    unregistered_lost = lost;
}

ssize_t read_file(int file, std::uint64_t offset, std::span<const guest_span> to) noexcept
{
    const file_spans parts{to};
    return ::preadv(file, parts.data(), parts.count(), static_cast<off_t>(offset));
}

ssize_t write_file(int file, std::uint64_t offset, std::span<const guest_span> from) noexcept
{
    const file_spans parts{from};
    return ::pwritev(file, parts.data(), parts.count(), static_cast<off_t>(offset));
}

#ifdef STRAIT_MUTATE_GUEST
namespace detail {

read_watch& watch_reads() noexcept
{
    thread_local read_watch watch;
    return watch;
}

// Only what is a guest's: a span over an mbuf is ours, and nobody else writes it.
void mutate_after_read(const void* at, std::size_t size) noexcept
{
    read_watch& watch = watch_reads();
    if (size == 0 || find_range(reinterpret_cast<std::uintptr_t>(at)) == nullptr) {
        return;
    }
    ++watch.reads;
    if (!watch.mutate) {
        return;
    }
    thread_local std::uint64_t state = 0x9e37'79b9'7f4a'7c15ULL;
    auto* const bytes = static_cast<std::byte*>(const_cast<void*>(at)); // NOLINT
    for (std::size_t i = 0; i < size; ++i) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[i] = static_cast<std::byte>(state >> 32);
    }
}

} // namespace detail
#endif

} // namespace strait::dataplane

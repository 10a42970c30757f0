// SPDX-License-Identifier: BSD-3-Clause
// Mapping a front end's dirty bitmap, and setting bits in it.
#include "ports/vhost/dirty_log.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <limits>
#include <string>

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace strait::vhost {

namespace {

// Bits for all pages that 64-bit addresses have; end() has room for no more.
constexpr std::uint64_t most_bytes = (std::uint64_t{1} << (64 - dirty_log::page_bits - 3)) - 1;

std::string bytes(std::uint64_t n)
{
    return std::to_string(n) + " bytes";
}

} // namespace

ports::result<std::unique_ptr<dirty_log>> dirty_log::map(int fd, std::uint64_t size,
                                                         std::uint64_t offset)
{
    struct statfs system {};
    struct stat status {};
    if (::fstatfs(fd, &system) != 0 || ::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
        (system.f_type != TMPFS_MAGIC && system.f_type != HUGETLBFS_MAGIC)) {
        return ports::error{"the dirty log is neither a memfd nor a file on tmpfs or hugetlbfs"};
    }
    std::uint64_t end = 0;
    if (size == 0 || size > most_bytes || __builtin_add_overflow(size, offset, &end)) {
        return ports::error{"a dirty log of " + bytes(size) + " at offset " +
                            std::to_string(offset) + " of its file cannot be"};
    }
    if (const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)); offset % page != 0) {
        return ports::error{"the dirty log begins at offset " + std::to_string(offset) +
                            " of its file, which is no multiple of " + bytes(page)};
    }
    if (static_cast<std::uint64_t>(status.st_size) < end) {
        return ports::error{"the dirty log needs " + bytes(end) + " of a file that has " +
                            std::to_string(status.st_size)};
    }
    const auto unit = static_cast<std::uint64_t>(status.st_blksize);
    const std::uint64_t whole = (size + unit - 1) / unit * unit; // of huge pages, whole ones
    void* const at =
        ::mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
    if (at == MAP_FAILED) {
        return ports::error{std::string{"the dirty log cannot be mapped: "} + std::strerror(errno)};
    }
    std::unique_ptr<dirty_log> log{new dirty_log{static_cast<std::byte*>(at), size}};
    log->mapped_ = whole;
    try {
        log->guard_ = dataplane::guest_range_registration{at, whole, log->lost_};
    } catch (const std::exception& e) {
        return ports::error{std::string{"the dirty log cannot be guarded: "} + e.what()};
    }
    return log;
}

dirty_log::dirty_log(std::byte* at, std::uint64_t size) noexcept : bits_{at}, pages_{size * 8} {}

dirty_log::~dirty_log()
{
    guard_ = {}; // before another mapping may take its place
    ::munmap(bits_, mapped_);
}

void dirty_log::mark(std::uint64_t address, std::uint64_t size) const noexcept
{
    if (size == 0) {
        return;
    }
    constexpr unsigned bits_of_byte = 8;
    const std::uint64_t room = std::numeric_limits<std::uint64_t>::max() - address;
    const std::uint64_t last = address + std::min(size - 1, room);
    const std::uint64_t end = std::min((last >> page_bits) + 1, pages_);
    for (std::uint64_t page = address >> page_bits; page < end;) {
        const unsigned first = page % bits_of_byte;
        const auto count =
            static_cast<unsigned>(std::min<std::uint64_t>(bits_of_byte - first, end - page));
        const auto bits = static_cast<std::uint8_t>(((1U << count) - 1) << first);
        // Never left out where the bits seem to be set: that look could come before the writes that
        // they are for, and another's clearing between the two.
        __atomic_fetch_or(reinterpret_cast<std::uint8_t*>(bits_ + page / bits_of_byte), bits,
                          __ATOMIC_SEQ_CST);
        page += count;
    }
}

void ring_log::wrote_elements(std::uint64_t base, std::size_t width, std::size_t ring_size,
                              std::size_t first, std::size_t count) const noexcept
{
    const std::size_t in_lap = std::min(count, ring_size - first);
    pages->mark(base + first * width, in_lap * width);
    pages->mark(base, std::min(count - in_lap, ring_size) * width);
}

} // namespace strait::vhost

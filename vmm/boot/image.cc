// SPDX-License-Identifier: BSD-3-Clause
// Reading kernels' and RAM disks' files.
#include "vmm/boot/image.hh"

#include "vmm/boot/layout.hh"

#include <cerrno>
#include <sstream>

#include <sys/stat.h>
#include <unistd.h>

namespace strait::vmm::boot {

namespace {

using ports::result;

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20;

} // namespace

std::string hexadecimal(std::uint64_t n)
{
    std::ostringstream text;
    text << "0x" << std::hex << n;
    return text.str();
}

std::string mebibytes(std::uint64_t bytes)
{
    return std::to_string(round_up(bytes, mebibyte) / mebibyte) + " MiB";
}

result<image> image::make(int file, std::string_view name)
{
    struct stat status {};
    if (::fstat(file, &status) != 0) {
        return ports::error{std::string{name} + ": " + ports::describe(errno)};
    }
    if (!S_ISREG(status.st_mode)) {
        return ports::error{std::string{name} + ": it is no regular file"};
    }
    return image{file, name, static_cast<std::uint64_t>(status.st_size)};
}

ports::error image::error(std::string_view what) const
{
    return {name_ + ": " + std::string{what}};
}

result<void> image::read(std::uint64_t offset, std::span<std::byte> to) const
{
    while (!to.empty()) {
        const bool there = has(offset, to.size());
        const ssize_t some =
            there ? ::pread(file_, to.data(), to.size(), static_cast<off_t>(offset)) : 0;
        if (some < 0 && errno == EINTR) {
            continue;
        }
        if (some < 0) {
            return error(ports::describe(errno));
        }
        if (some == 0) {
            return error("it is truncated: bytes " + std::to_string(offset) +
                         " and following are "
                         "missing");
        }
        offset += static_cast<std::uint64_t>(some);
        to = to.subspan(static_cast<std::size_t>(some));
    }
    return {};
}

result<void> image::load(std::uint64_t offset, std::uint64_t bytes, const memory& ram,
                         std::uint64_t address) const
{
    if (const auto done = ram.load(address, file_, offset, bytes); done.has_error()) {
        return error(done.error().message);
    }
    return {};
}

ports::error image::does_not_fit(std::string_view what, std::uint64_t end) const
{
    std::string text = std::string{what} + " not fit into the guest's memory";
    if (end > hole_begin) {
        return error(text + ": it would reach beyond 3 GiB, where nothing can be loaded");
    }
    return error(text + ": give --memory " + std::to_string(round_up(end, mebibyte) / mebibyte) +
                 "M or more");
}

} // namespace strait::vmm::boot

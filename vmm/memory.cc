// SPDX-License-Identifier: BSD-3-Clause
// Making and mapping the guest's RAM.
#include "vmm/memory.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <linux/memfd.h>
#include <numaif.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

namespace strait::vmm {

namespace {

using ports::error;
using ports::result;

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20;
constexpr std::uint64_t gibibyte = std::uint64_t{1} << 30;

std::string describe(const memory_options& o)
{
    std::string text = std::to_string(o.bytes / mebibyte) + " MiB of guest memory";
    if (o.huge_page != 0) {
        text += o.huge_page == gibibyte ? " in huge pages of 1 GiB" : " in huge pages of 2 MiB";
    }
    if (o.node) {
        text += " on NUMA node " + std::to_string(*o.node);
    }
    return text;
}

error cannot_have(const memory_options& o, int code)
{
    std::string why = std::generic_category().message(code);
    if (o.huge_page != 0 && code == ENOMEM) {
        // The sysctl is about pages of the kernel's default size.
        why = std::string{"not enough of them are free ("} +
              (o.huge_page == gibibyte ? "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
                                       : "sysctl vm.nr_hugepages") +
              ")";
    } else if (o.huge_page != 0 && code == ENODEV) {
        why = "this machine has no huge pages of that size";
    } else if (o.node && code == EINVAL) {
        why = "there is no such node, or it has no memory";
    }
    return {describe(o) + " cannot be had: " + why};
}

result<dataplane::file_descriptor> make_file(const memory_options& o)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    if (o.huge_page != 0) {
        flags |= MFD_HUGETLB | (o.huge_page == gibibyte ? MFD_HUGE_1GB : MFD_HUGE_2MB);
    }
    dataplane::file_descriptor file{::memfd_create("strait-guest", flags)};
    if (!file || ::ftruncate(file.get(), static_cast<off_t>(o.bytes)) != 0 ||
        ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return cannot_have(o, errno);
    }
    return file;
}

// Pages come from that node or not at all.
bool bind_to(unsigned node, void* base, std::uint64_t bytes)
{
    constexpr unsigned bits = 64;
    constexpr unsigned most = 1024; // nodes a kernel can have
    if (node >= most) {
        errno = EINVAL;
        return false;
    }
    std::array<unsigned long, most / bits> mask{};
    mask.at(node / bits) = 1UL << (node % bits);
    return ::mbind(base, bytes, MPOL_BIND, mask.data(), most, 0) == 0;
}

} // namespace

result<memory> memory::make(const memory_options& o)
{
    auto file = make_file(o);
    if (file.has_error()) {
        return file.error();
    }
    memory m;
    m.bytes_ = o.bytes;
    m.file_ = std::move(file).value();

    const std::uint64_t low = std::min(o.bytes, hole_begin);
    const std::array<region, 2> parts = {region{0, low, 0, 0},
                                         region{hole_end, o.bytes - low, low, 0}};
    std::vector<vhost::guest_memory::mapping> mappings;
    for (region part : parts) {
        if (part.bytes == 0) {
            continue;
        }
        void* const base = ::mmap(nullptr, part.bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                                  m.file_.get(), static_cast<off_t>(part.file_offset));
        if (base == MAP_FAILED) {
            return cannot_have(o, errno);
        }
        part.mapped_at = reinterpret_cast<std::uintptr_t>(base);
        m.regions_.push_back(part);
        if (o.node && !bind_to(*o.node, base, part.bytes)) {
            return cannot_have(o, errno);
        }
        const bool reserve = o.huge_page != 0 || o.node;
        if (reserve && ::madvise(base, part.bytes, MADV_POPULATE_WRITE) != 0) {
            return cannot_have(o, errno == EFAULT ? ENOMEM : errno);
        }
        mappings.push_back({part.guest_address, part.bytes, base, base, part.bytes, 0});
    }
    auto guest = vhost::guest_memory::make(mappings);
    if (guest.has_error()) {
        return guest.error();
    }
    m.guest_ = std::move(guest).value();
    return m;
}

memory::memory(memory&& other) noexcept
    : bytes_{other.bytes_},
      file_{std::move(other.file_)},
      regions_{std::exchange(other.regions_, {})},
      guest_{std::move(other.guest_)}
{}

memory::~memory()
{
    for (const region& r : regions_) {
        ::munmap(reinterpret_cast<void*>(r.mapped_at),
                 r.bytes); // NOLINT(performance-no-int-to-ptr)
    }
}

bool memory::contains(std::uint64_t address, std::uint64_t size) const noexcept
{
    dataplane::guest_span there;
    return guest_->translate(address, size, there);
}

bool memory::read(std::uint64_t address, std::span<std::byte> to) const noexcept
{
    dataplane::guest_span there;
    if (!guest_->translate(address, to.size(), there)) {
        return false;
    }
    there.copy_out(to.data(), 0, to.size());
    return true;
}

bool memory::write(std::uint64_t address, std::span<const std::byte> from) const noexcept
{
    dataplane::guest_span there;
    if (!guest_->translate(address, from.size(), there)) {
        return false;
    }
    there.copy_in(from.data(), 0, from.size());
    return true;
}

// From file to file: no page is filled with zeros first, and none is faulted in. How many bytes
// were copied so; the kernel does not do it for every file, nor into huge pages.
std::uint64_t memory::send(std::uint64_t address, int file, std::uint64_t offset,
                           std::uint64_t size) const noexcept
{
    const auto r = std::ranges::find_if(regions_, [address](const region& one) {
        return address - one.guest_address < one.bytes; // below it wraps
    });
    if (r == regions_.end() ||
        ::lseek(file_.get(), static_cast<off_t>(r->file_offset + (address - r->guest_address)),
                SEEK_SET) < 0) {
        return 0;
    }
    auto from = static_cast<off_t>(offset);
    std::uint64_t sent = 0;
    while (sent < size) {
        const ssize_t some = ::sendfile(file_.get(), file, &from, size - sent);
        if (some <= 0) {
            break; // why, reading tells
        }
        sent += static_cast<std::uint64_t>(some);
    }
    return sent;
}

result<void> memory::load(std::uint64_t address, int file, std::uint64_t offset,
                          std::uint64_t size) const
{
    dataplane::guest_span there;
    if (!guest_->translate(address, size, there)) {
        return error{"it does not fit into the guest's memory"};
    }
    std::uint64_t got = send(address, file, offset, size);
    while (got < size) {
        const dataplane::guest_span rest = there.subspan(got);
        const ssize_t some = dataplane::read_file(file, offset + got, {&rest, 1});
        if (some < 0 && errno == EINTR) {
            continue;
        }
        if (some < 0) {
            return error{ports::describe(errno)};
        }
        if (some == 0) {
            return error{"it ends after " + std::to_string(offset + got) + " bytes"};
        }
        got += static_cast<std::uint64_t>(some);
    }
    return {};
}

} // namespace strait::vmm

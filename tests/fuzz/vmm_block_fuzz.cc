// SPDX-License-Identifier: BSD-3-Clause
// The VMM's block and entropy devices on a queue that an input describes, of either kind. An input
// is
//   flags, size, number of operations, operations of 4 bytes, image
// where the image is what the guest's memory begins with: descriptors, driver area, device area,
// requests. An operation is a turn of the device's thread or one 16-bit store by the guest. The
// disk is a memfd of 64 KiB. AddressSanitizer sees what leaves the memory, of system calls too;
// what must not change in it, and the disk's size, are compared.
#include "ports/vhost/memory.hh"
#include "tests/fuzz/check.hh"
#include "tests/fuzz/ring_memory.hh"
#include "vmm/virtio/block.hh"
#include "vmm/virtio/entropy.hh"
#include "vmm/virtio/queue.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using namespace strait;
using namespace strait::vmm::virtio;
using fuzz::check;
namespace feature = vhost::feature;

constexpr std::size_t disk_size = 64 * 1024;

struct image {
    image() { check(file >= 0 && ::ftruncate(file, disk_size) == 0); }
    [[nodiscard]] disk open(bool read_only) const
    {
        return disk::open({.path = "/proc/self/fd/" + std::to_string(file),
                           .read_only = read_only,
                           .serial = "fuzz"})
            .value();
    }
    void reset() const { check(::pwrite(file, before.data(), disk_size, 0) == disk_size); }
    [[nodiscard]] bool unchanged()
    {
        check(::pread(file, now.data(), disk_size, 0) == disk_size);
        return std::memcmp(now.data(), before.data(), disk_size) == 0;
    }
    [[nodiscard]] std::size_t size() const
    {
        struct stat status {};
        check(::fstat(file, &status) == 0);
        return static_cast<std::size_t>(status.st_size);
    }
    int file{::memfd_create("fuzz-disk", MFD_CLOEXEC)};
    std::vector<std::byte> before = std::vector(disk_size, std::byte{0x5a});
    std::vector<std::byte> now = before;
};

struct machine : fuzz::ring_memory {
    using copy = std::vector<std::byte>;
    [[nodiscard]] copy all() const
    {
        copy c(first_size + second_size);
        std::memcpy(c.data(), first.get(), first_size);
        std::memcpy(c.data() + first_size, second.get(), second_size);
        return c;
    }
    [[nodiscard]] bool is(const copy& c) const
    {
        return std::memcmp(c.data(), first.get(), first_size) == 0 &&
               std::memcmp(c.data() + first_size, second.get(), second_size) == 0;
    }

    image writable;
    image fixed;
    disk writable_disk{writable.open(false)};
    disk fixed_disk{fixed.open(true)};
};

std::vector<std::byte> content_of(std::span<const dataplane::guest_span> parts)
{
    std::vector<std::byte> all;
    for (const dataplane::guest_span& part : parts) {
        all.resize(all.size() + part.size());
        part.copy_out(all.data() + all.size() - part.size(), 0, part.size());
    }
    return all;
}

void put_back(std::span<const dataplane::guest_span> parts, const std::vector<std::byte>& all)
{
    std::size_t at = 0;
    for (const dataplane::guest_span& part : parts) {
        part.copy_in(all.data() + at, 0, part.size());
        at += part.size();
    }
}

// Has a chain answered, and sees that nothing changed but what it has to be written.
queue_server::outcome answer(machine& m, chain& c, std::uint8_t flags)
{
    constexpr std::size_t worth_it = 256 * 1024; // a chain may name the same bytes 288 times
    const bool compared = c.writable_bytes() <= worth_it;
    const std::vector<dataplane::guest_span> parts(c.writable().begin(), c.writable().end());
    const std::uint32_t room = c.writable_bytes();
    std::vector<std::byte> before;
    machine::copy memory;
    if (compared) {
        before = content_of(parts);
        memory = m.all();
    }
    queue_server::outcome o;
    if ((flags & 32) != 0) {
        o = fill_with_entropy(c);
        check(o.fault == nullptr && o.moved <= most_entropy && o.written == o.moved);
    } else {
        o = ((flags & 16) != 0 ? m.fixed_disk : m.writable_disk).answer(c, (flags & 64) != 0);
        check(o.fault != nullptr || o.written == room);
    }
    check(o.written <= room);
    if (compared) {
        const std::vector<std::byte> after = content_of(parts);
        put_back(parts, before);
        check(m.is(memory));
        put_back(parts, after);
    }
    return o;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static machine& m = *new machine;
    constexpr std::size_t fixed = 3;
    if (size < fixed) {
        return 0;
    }
    const std::uint8_t flags = data[0];
    const bool packed = (flags & 1) != 0;
    const std::size_t operations = std::min<std::size_t>(data[2] & 31, (size - fixed) / 4);
    const std::uint8_t* operation = data + fixed;
    const std::uint8_t* image = operation + 4 * operations;

    m.fill({image, data + size});
    m.writable.reset();
    m.fixed.reset();

    queue_setup s;
    s.enabled = true;
    s.size = static_cast<std::uint16_t>(packed ? data[1] + 1 : 1 << (data[1] % 9));
    const std::uint64_t n = s.size;
    s.descriptors = machine::first_address;
    s.driver = s.descriptors + 16 * n;
    s.device = (s.driver + (packed ? 4 : 6 + 2 * n) + 3) / 4 * 4;
    if ((flags & 128) != 0) { // somewhere else
        s.device = machine::second_address + (std::uint64_t{data[1]} << 4U);
    }
    std::uint64_t features = std::uint64_t{1} << feature::version_1;
    features |= packed ? std::uint64_t{1} << feature::ring_packed : 0;
    features |= (flags & 8) != 0 ? std::uint64_t{1} << feature::event_index : 0;

    queue q{s, features, *m.memory};
    for (std::size_t i = 0; i < operations; ++i, operation += 4) {
        if ((operation[0] & 3) == 1) {
            const std::size_t at = std::size_t{operation[1]} * 2 + (operation[0] >> 2) * 512U;
            std::memcpy(m.first.get() + at, operation + 2, 2);
            continue;
        }
        const bool broken = q.fault() != nullptr;
        const machine::copy before = m.all();
        const std::size_t turn = operation[1] % queue_server::turn_chains + 1;
        for (std::size_t taken = 0; taken < turn; ++taken) {
            chain c;
            if (!q.next(c)) {
                if (q.ask_for_kick()) {
                    break;
                }
                q.decline_kicks();
                continue;
            }
            check(!broken);
            const queue_server::outcome o = answer(m, c, flags);
            if (o.fault != nullptr) {
                q.fail(o.fault);
                continue;
            }
            q.complete(c, o.written);
        }
        check(!broken || m.is(before));
        check(m.writable.size() == disk_size && m.fixed.size() == disk_size);
    }
    check(m.fixed.unchanged());
    check((flags & 48) == 0 || m.writable.unchanged());
    return 0;
}

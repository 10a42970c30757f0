// SPDX-License-Identifier: BSD-3-Clause
// The guest's RAM: one sealed memfd, mapped here and shared with back ends, and where it lies in
// guest-physical addresses. What is loaded into it at boot goes through read() and write();
// device models take spans of guest().
#pragma once

#include "dataplane/file_descriptor.hh"
#include "ports/error.hh"
#include "ports/vhost/memory.hh"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace strait::vmm {

// RAM ends at 3 GiB and goes on at 4 GiB; between them are PCI devices' registers and the
// interrupt controllers, as in every PC.
inline constexpr std::uint64_t hole_begin = 0xc000'0000;
inline constexpr std::uint64_t hole_end = 0x1'0000'0000;

struct memory_options {
    std::uint64_t bytes{0};         // whole MiB, or whole huge pages
    std::uint64_t huge_page{0};     // bytes of one: 2 MiB or 1 GiB; 0: ordinary pages
    std::optional<unsigned> node{}; // NUMA node that all of it comes from
};

class memory {
public:
    struct region {
        std::uint64_t guest_address;
        std::uint64_t bytes;
        std::uint64_t file_offset;
        std::uintptr_t mapped_at; // for KVM and for back ends; never dereferenced elsewhere
    };

    // Zero pages, taken when they are first used; huge pages and a node's are reserved at once, so
    // that a lack of them is an error here and no fault of a running guest.
    [[nodiscard]] static ports::result<memory> make(const memory_options& options);
    memory(memory&& other) noexcept;
    memory& operator=(memory&&) = delete;
    ~memory();

    [[nodiscard]] std::span<const region> regions() const noexcept { return regions_; }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
    // Sealed against shrinking and growing: who gets it can take nothing away.
    [[nodiscard]] int file() const noexcept { return file_.get(); }
    [[nodiscard]] const vhost::guest_memory& guest() const noexcept { return *guest_; }

    [[nodiscard]] bool contains(std::uint64_t address, std::uint64_t size) const noexcept;
    // False, and nothing was copied, unless all of it is RAM. Any thread.
    [[nodiscard]] bool read(std::uint64_t address, std::span<std::byte> to) const noexcept;
    [[nodiscard]] bool write(std::uint64_t address, std::span<const std::byte> from) const noexcept;
    // Copies `size` bytes at `offset` of a file there. An error says in a sentence's end why not
    // ("it ends after 12 bytes", "Input/output error").
    [[nodiscard]] ports::result<void> load(std::uint64_t address, int file, std::uint64_t offset,
                                           std::uint64_t size) const;

private:
    memory() = default;
    [[nodiscard]] std::uint64_t send(std::uint64_t address, int file, std::uint64_t offset,
                                     std::uint64_t size) const noexcept;

    std::uint64_t bytes_{0};
    dataplane::file_descriptor file_;
    std::vector<region> regions_;
    std::unique_ptr<vhost::guest_memory> guest_;
};

} // namespace strait::vmm

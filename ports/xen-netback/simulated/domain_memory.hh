// SPDX-License-Identifier: BSD-3-Clause
// A simulated domain's memory, in a sealed memfd that every process it is handed to maps: a header
// page, the grant table, ordinary pages. Here are the rules of grants; who is told of which
// domain's memory is the server's business.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "dataplane/guest_span.hh"
#include "dataplane/remote.hh"
#include "ports/error.hh"
#include "ports/xen-netback/hypervisor.hh"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace strait::xen::simulated {

using dataplane::file_descriptor;
using ports::error;
using grant_status = dataplane::remote_copy::status;

// For people: "bad_reference (-3)".
[[nodiscard]] std::string to_string(grant_status s);

// Sizes of a domain. They come from the server, never out of the memory itself, which its guest can
// write as it likes.
struct memory_layout {
    std::uint32_t grants{32'768}; // entries of its table: 512 to 32,768, whole pages of them
    std::uint32_t pages{4096};    // ordinary ones: 1 to 2^20

    static constexpr std::uint32_t reserved_grants = 8; // as in Xen, never handed out

    [[nodiscard]] bool valid() const noexcept;
    // Frames are numbered from the header page on.
    [[nodiscard]] std::uint32_t first_page() const noexcept
    {
        return 1 + static_cast<std::uint32_t>(grants * sizeof(std::uint64_t) / page_size);
    }
    [[nodiscard]] std::uint32_t end() const noexcept { return first_page() + pages; }
    [[nodiscard]] std::size_t size() const noexcept { return end() * page_size; }
    bool operator==(const memory_layout&) const noexcept = default;
};

// An entry as in version 1 of Xen's tables: 16 bits of flags, the domain it is for, the frame. In
// the flags' upper bits, free in Xen, stands how often it is in use: Xen counts that in memory of
// its own, but the processes that use an entry here share only the entry. A guest that writes over
// the count takes protection from its own pages and from nobody else's.
namespace grant_entry {
inline constexpr std::uint64_t type_mask = 3;
inline constexpr std::uint64_t permit_access = 1;
inline constexpr std::uint64_t read_only = 1U << 2U;
inline constexpr std::uint64_t reading = 1U << 3U;
inline constexpr std::uint64_t writing = 1U << 4U;
inline constexpr std::uint64_t one_use = 1U << 9U;
inline constexpr std::uint64_t uses_mask = 127U << 9U;

[[nodiscard]] constexpr std::uint64_t make(domain_id to, std::uint32_t frame, bool only_read)
{
    return permit_access | (only_read ? read_only : 0) |
           (std::uint64_t{static_cast<std::uint16_t>(to)} << 16U) | (std::uint64_t{frame} << 32U);
}
[[nodiscard]] constexpr domain_id domain(std::uint64_t entry)
{
    return domain_id{static_cast<std::uint16_t>(entry >> 16U)};
}
[[nodiscard]] constexpr std::uint32_t frame(std::uint64_t entry)
{
    return static_cast<std::uint32_t>(entry >> 32U);
}
[[nodiscard]] constexpr std::uint64_t uses(std::uint64_t entry)
{
    return (entry & uses_mask) / one_use;
}
} // namespace grant_entry

// One mapping of all of it. What is noexcept is for any thread.
class domain_memory {
public:
    // Makes new memory, all zeros and alive. Errors: no memory, or an invalid layout.
    [[nodiscard]] static result<domain_memory> make(domain_id domain, memory_layout layout);
    // Maps what another process made. Errors: the file is no sealed one of that size.
    [[nodiscard]] static result<domain_memory> map(file_descriptor file, memory_layout layout);
    domain_memory(domain_memory&& other) noexcept;
    domain_memory& operator=(domain_memory&& other) noexcept = delete;
    ~domain_memory();

    [[nodiscard]] int descriptor() const noexcept { return file_.get(); }
    [[nodiscard]] const memory_layout& layout() const noexcept { return layout_; }
    [[nodiscard]] bool alive() const noexcept { return header_.load_acquire(alive_index) != 0; }
    void end() const noexcept { header_.store_release(alive_index, 0); }

    // For the domain itself: its own page, first_page() to end() - 1.
    [[nodiscard]] std::byte* own_page(std::uint32_t frame) const noexcept
    {
        return base_ + frame * page_size;
    }
    // For others: a page whose frame claim() gave.
    [[nodiscard]] dataplane::guest_span page(std::uint32_t frame) const noexcept
    {
        return {base_ + frame * page_size, page_size};
    }

    // Takes a grant into use, for reading or for writing too. On success, and only then, release()
    // is due, and `frame` lies in the domain. The entry is read once.
    struct claimed {
        grant_status status;
        std::uint32_t frame;
    };
    [[nodiscard]] claimed claim(domain_id by, std::uint32_t reference, bool write) const noexcept;
    void release(std::uint32_t reference) const noexcept;

    // The granting side. References below layout().grants.
    void grant(std::uint32_t reference, domain_id to, std::uint32_t frame,
               bool only_read) const noexcept;
    // False: it is in use, and stays granted.
    [[nodiscard]] bool revoke(std::uint32_t reference) const noexcept;
    [[nodiscard]] std::uint64_t entry(std::uint32_t reference) const noexcept
    {
        return table_.load_acquire(reference);
    }
    // For the server, once a process of domain `by` is gone: the entry is in use `uses` times.
    void correct_uses(std::uint32_t reference, domain_id by, std::uint32_t uses) const noexcept;

private:
    static constexpr std::size_t alive_index = 2; // of the header's words
    domain_memory(file_descriptor file, memory_layout layout, std::byte* base) noexcept;

    file_descriptor file_;
    memory_layout layout_;
    std::byte* base_;
    dataplane::guest_array<std::uint64_t> header_; // magic, domain, alive
    dataplane::guest_array<std::uint64_t> table_;
};

// Pages of a domain side by side, readable and writable. Errors: no address space or too many
// mappings.
class page_mapping {
public:
    [[nodiscard]] static result<page_mapping> make(const domain_memory& of,
                                                   std::span<const std::uint32_t> frames);
    page_mapping(page_mapping&& other) noexcept
        : base_{std::exchange(other.base_, nullptr)}, size_{other.size_}
    {}
    page_mapping& operator=(page_mapping&&) = delete;
    ~page_mapping();
    [[nodiscard]] void* base() const noexcept { return base_; }

private:
    page_mapping(void* base, std::size_t size) noexcept : base_{base}, size_{size} {}
    void* base_;
    std::size_t size_;
};

} // namespace strait::xen::simulated

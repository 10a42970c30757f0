// SPDX-License-Identifier: BSD-3-Clause
// Memory of guests that this process cannot address: pages that a guest granted, each known by a
// reference only. It is never mapped for a packet, but copied by the hypervisor, many pieces in one
// call. Which hypervisor, and how, is a port type's business.
#pragma once

#include "dataplane/guest_span.hh"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::dataplane {

// A range of bytes of one granted page.
struct remote_span {
    std::uint32_t reference; // of the grant
    std::uint16_t offset;    // in the page
    std::uint16_t owner;     // the domain that granted it
    std::uint16_t size;

    // `length` bytes of it, from `at` on.
    [[nodiscard]] constexpr remote_span part(std::size_t at, std::size_t length) const noexcept
    {
        return {.reference = reference,
                .offset = static_cast<std::uint16_t>(offset + at),
                .owner = owner,
                .size = static_cast<std::uint16_t>(length)};
    }
};

// One piece of a batch: from and to a granted page or this process's memory. Neither side may leave
// its page if it is granted; offset + size is the caller's promise. Laid out as Xen's interface to
// its grant copies has it (xengnttab_grant_copy_segment_t).
class remote_copy {
public:
    // The hypervisor's own codes (GNTST_* of Xen's public grant_table.h).
    enum class status : std::int16_t {
        done = 0,
        general_error = -1, // not granted to us, or not for writing
        bad_domain = -2,
        bad_reference = -3,
        permission_denied = -8,
        bad_page = -9,
        bad_argument = -10,
        again = -12,
        no_space = -13,
    };
    // Where one side of a piece lies.
    union side {
        void* local;
        struct {
            std::uint32_t reference;
            std::uint16_t offset;
            std::uint16_t owner;
        } granted;
    };
    static constexpr std::uint16_t source_granted = 1;
    static constexpr std::uint16_t target_granted = 2;

    remote_copy() noexcept = default;

    // `size` bytes; the offsets are those of the spans' own first bytes.
    [[nodiscard]] static remote_copy pull(const remote_span& from, void* to) noexcept
    {
        return {granted(from), local(to), from.size, source_granted};
    }
    [[nodiscard]] static remote_copy pull(const remote_span& from, guest_span to) noexcept
    {
        return pull(from, to.base_);
    }
    [[nodiscard]] static remote_copy push(const void* from, const remote_span& to) noexcept
    {
        return {local(const_cast<void*>(from)), granted(to), to.size, target_granted};
    }
    [[nodiscard]] static remote_copy push(guest_span from, const remote_span& to) noexcept
    {
        return push(from.base_, to);
    }
    // From one guest to another, without passing through this process: as many bytes as the
    // smaller of the two.
    [[nodiscard]] static remote_copy across(const remote_span& from, const remote_span& to) noexcept
    {
        return {granted(from), granted(to), from.size < to.size ? from.size : to.size,
                source_granted | target_granted};
    }

    [[nodiscard]] status result() const noexcept { return status_; }
    [[nodiscard]] bool done() const noexcept { return status_ == status::done; }
    [[nodiscard]] std::uint16_t size() const noexcept { return size_; }

    // For the hypervisor.
    [[nodiscard]] const side& source() const noexcept { return source_; }
    [[nodiscard]] const side& target() const noexcept { return target_; }
    [[nodiscard]] std::uint16_t flags() const noexcept { return flags_; }
    void set_result(status s) noexcept { status_ = s; }

private:
    remote_copy(side source, side target, std::uint16_t size, std::uint16_t flags) noexcept
        : source_{source}, target_{target}, size_{size}, flags_{flags}
    {}
    // In one word: what is stored in parts and then read as a whole waits for the stores to land.
    [[nodiscard]] static side granted(const remote_span& s) noexcept
    {
        return std::bit_cast<side>(std::uint64_t{s.reference} | std::uint64_t{s.offset} << 32U |
                                   std::uint64_t{s.owner} << 48U);
    }
    [[nodiscard]] static side local(void* at) noexcept { return {.local = at}; }

    side source_{};
    side target_{};
    std::uint16_t size_{0};
    std::uint16_t flags_{0};
    status status_{status::general_error};
};
static_assert(sizeof(remote_copy) == 24);

// Who can do it.
class remote_copier {
public:
    // Every piece gets its own result, and any may fail: a guest can take a grant back at any time.
    // Bounded by the size of the batch. Any worker, several at a time.
    virtual void copy(std::span<remote_copy> pieces) noexcept = 0;

protected:
    ~remote_copier() = default;
};

// The payload of one packet behind its head, in order.
struct remote_payload {
    remote_copier* copier;
    std::span<remote_span> spans; // what lengthen_head() took goes from their begin
    // Set by whoever found that the sender's grants cannot be read: the sender is to be told.
    bool unreadable;
    // And whether no port has counted the packet yet that is lost by that: lengthen_head()'s.
    bool uncounted{false};
};

} // namespace strait::dataplane

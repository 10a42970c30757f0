// SPDX-License-Identifier: BSD-3-Clause
// The guest's memory and channels of fuzz targets that serve a Xen guest: pages of exact size on
// the heap, so that AddressSanitizer sees what leaves them.
#pragma once

#include "ports/xen-netback/hypervisor.hh"
#include "tests/fuzz/check.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string_view>

namespace strait::fuzz {

inline constexpr std::uint16_t guest_domain = 1;
inline constexpr std::size_t page_count = 16;

struct page {
    std::unique_ptr<std::byte[]> bytes{new (std::align_val_t{xen::page_size})
                                           std::byte[xen::page_size]};
};

// References 0 to 15 are pages to read and write, 16 to 31 the same pages to read; each can be
// taken back. That is all that a grant table is to who copies.
class grants : public xen::hypervisor {
public:
    void reset()
    {
        taken_back_.fill(false);
        for (std::size_t i = 0; i < page_count; ++i) {
            std::memset(pages_[i].bytes.get(), static_cast<int>(i + 1), xen::page_size);
        }
    }
    void toggle(std::uint32_t reference) { taken_back_[reference % taken_back_.size()] ^= true; }
    [[nodiscard]] std::byte* bytes(std::size_t i) const { return pages_[i].bytes.get(); }
    [[nodiscard]] bool allows(std::uint32_t reference, bool write) const
    {
        return reference < taken_back_.size() && !taken_back_[reference] &&
               (!write || reference < page_count);
    }

    [[nodiscard]] std::string_view name() const noexcept override { return "fuzz"; }
    [[nodiscard]] xen::domain_id own_domain() const noexcept override { return xen::domain_id{0}; }
    [[nodiscard]] xen::result<std::unique_ptr<xen::mapped_grants>>
    map(xen::domain_id /*d*/, std::span<const xen::grant_ref> /*pages*/) override
    {
        std::abort();
    }
    [[nodiscard]] xen::result<std::unique_ptr<xen::event_channel>>
    bind(xen::domain_id /*d*/, xen::event_port /*p*/) override
    {
        std::abort();
    }
    [[nodiscard]] xen::store& store() noexcept override { std::abort(); }
    void copy(std::span<dataplane::remote_copy> pieces) noexcept override
    {
        using dataplane::remote_copy;
        calls += 1;
        total += pieces.size();
        for (remote_copy& piece : pieces) {
            check(piece.size() > 0);
            std::byte* from = static_cast<std::byte*>(piece.source().local);
            std::byte* to = static_cast<std::byte*>(piece.target().local);
            bool good = true;
            if ((piece.flags() & remote_copy::source_granted) != 0) {
                from = find(piece.source(), piece.size(), false, good);
            }
            if ((piece.flags() & remote_copy::target_granted) != 0) {
                to = find(piece.target(), piece.size(), true, good);
            }
            piece.set_result(good ? remote_copy::status::done : remote_copy::status::general_error);
            if (good) {
                std::memmove(to, from, piece.size());
            }
        }
    }

    std::size_t calls{0};
    std::size_t total{0};

private:
    std::byte* find(const dataplane::remote_copy::side& side, std::uint16_t size, bool write,
                    bool& good) const
    {
        const auto& g = side.granted;
        // The engine promises to stay in the page; the hypervisor need not check again.
        check(g.owner == guest_domain && std::size_t{g.offset} + size <= xen::page_size);
        if (!allows(g.reference, write)) {
            good = false;
            return nullptr;
        }
        return bytes(g.reference % page_count) + g.offset;
    }
    std::array<page, page_count> pages_;
    std::array<bool, 2 * page_count> taken_back_{};
};

class quiet_channel : public xen::event_channel {
public:
    void notify() noexcept override { ++told; }
    [[nodiscard]] int descriptor() const noexcept override { return -1; }
    [[nodiscard]] bool take() noexcept override { return false; }
    std::size_t told{0};
};

} // namespace strait::fuzz

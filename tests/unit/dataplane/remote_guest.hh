// SPDX-License-Identifier: BSD-3-Clause
// A guest whose memory the switch cannot address, and the hypervisor that copies from it: pages
// known by number, any of which can be taken back. And packets whose payload lies there.
#pragma once

#include "tests/unit/dataplane/eal.hh"

#include "dataplane/remote.hh"

#include <array>
#include <set>
#include <span>

namespace strait::test {

class remote_guest final : public dataplane::remote_copier {
public:
    static constexpr std::size_t page_size = 4096;

    // Puts `bytes` at `offset` of a new page.
    dataplane::remote_span grant(std::span<const std::uint8_t> bytes, std::size_t offset)
    {
        pages_.push_back(std::make_unique<page>());
        std::copy(bytes.begin(), bytes.end(),
                  pages_.back()->begin() + static_cast<std::ptrdiff_t>(offset));
        return {.reference = static_cast<std::uint32_t>(pages_.size() - 1),
                .offset = static_cast<std::uint16_t>(offset),
                .owner = 7,
                .size = static_cast<std::uint16_t>(bytes.size())};
    }
    void take_back(std::uint32_t reference) { gone_.insert(reference); }

    void copy(std::span<dataplane::remote_copy> pieces) noexcept override
    {
        using dataplane::remote_copy;
        ++calls;
        for (remote_copy& piece : pieces) {
            const auto& from = piece.source().granted;
            piece.set_result(remote_copy::status::bad_reference);
            if (piece.flags() == remote_copy::source_granted && from.owner == 7 &&
                from.reference < pages_.size() && !gone_.contains(from.reference) &&
                from.offset + piece.size() <= page_size && !is_cut(piece.target().local)) {
                std::memcpy(piece.target().local, pages_[from.reference]->data() + from.offset,
                            piece.size());
                piece.set_result(remote_copy::status::done);
            }
        }
    }

    unsigned calls{0};
    std::span<const std::byte> cut; // the receiver has taken this memory of its own away

private:
    [[nodiscard]] bool is_cut(const void* target) const noexcept
    {
        return !cut.empty() && target >= cut.data() && target < cut.data() + cut.size();
    }

    using page = std::array<std::uint8_t, page_size>;
    std::vector<std::unique_ptr<page>> pages_;
    std::set<std::uint32_t> gone_;
};

// Its head private, the rest on granted pages, at most `piece` bytes on each.
class remote_packet {
public:
    remote_packet(remote_guest& guest, const frame& f, std::size_t piece = remote_guest::page_size)
    {
        dataplane::packet_slot& p = *slot_;
        const std::size_t head = std::min(f.size(), dataplane::head_copy);
        p.data = p.head.data();
        p.length = static_cast<std::uint32_t>(f.size());
        p.head_length = static_cast<std::uint16_t>(head);
        std::memcpy(p.data, f.data(), head);
        for (std::size_t at = head; at < f.size();) {
            const std::size_t n = std::min(piece, f.size() - at);
            const std::size_t offset = (at * 31) % (remote_guest::page_size - n + 1);
            spans_.push_back(guest.grant(std::span{f}.subspan(at, n), offset));
            at += n;
        }
        payload_ = {.copier = &guest, .spans = spans_, .unreadable = false};
        p.remote = spans_.empty() ? nullptr : &payload_;
        p.destinations = 1;
    }
    [[nodiscard]] dataplane::packet_slot& get() noexcept { return *slot_; }
    [[nodiscard]] const dataplane::remote_payload& payload() const noexcept { return payload_; }
    [[nodiscard]] std::uint32_t reference(std::size_t i) const { return spans_.at(i).reference; }

private:
    std::unique_ptr<dataplane::packet_slot> slot_{new dataplane::packet_slot{}};
    std::vector<dataplane::remote_span> spans_;
    dataplane::remote_payload payload_{};
};

} // namespace strait::test

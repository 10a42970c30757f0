// SPDX-License-Identifier: BSD-3-Clause
// Connecting and disconnecting MSI-X vectors.
#include "vmm/pci/message_vectors.hh"

#include <algorithm>
#include <cstring>
#include <utility>

namespace strait::vmm::pci {

namespace {

constexpr std::size_t word = sizeof(std::uint32_t);
constexpr std::size_t control = 3; // of an entry's words
constexpr std::uint32_t masked = 1;

bool whole_words(std::size_t offset, std::size_t size) noexcept
{
    return offset % word == 0 && size % word == 0;
}

} // namespace

ports::result<message_vectors> message_vectors::make(fabric& f, std::size_t count)
{
    message_vectors made{f};
    for (std::size_t i = 0; i < count; ++i) {
        auto signal = event::make();
        if (signal.has_error()) {
            return signal.error();
        }
        made.entries_.push_back({std::move(signal).value(), f.add_message_interrupt()});
    }
    return made;
}

message_vectors::~message_vectors()
{
    enable(false, false);
}

void message_vectors::enable(bool enabled, bool all_masked) noexcept
{
    if (enabled != enabled_ || all_masked != all_masked_) {
        enabled_ = enabled;
        all_masked_ = all_masked;
        std::ranges::for_each(entries_, [this](entry& v) { update(v); });
    }
}

void message_vectors::update(entry& v) noexcept
{
    const bool live = enabled_ && !all_masked_ && (v.words[control] & masked) == 0;
    if (live) {
        fabric_->route(v.interrupt, {std::uint64_t{v.words[1]} << 32 | v.words[0], v.words[2]});
    }
    if (live != v.connected) {
        v.connected = live;
        if (live) {
            fabric_->connect_interrupt(v.signal.fd(), v.interrupt);
        } else {
            fabric_->disconnect_interrupt(v.signal.fd(), v.interrupt);
        }
    }
}

void message_vectors::read_table(std::size_t offset, std::span<std::byte> to) const noexcept
{
    std::ranges::fill(to, std::byte{0});
    for (std::size_t i = 0; whole_words(offset, to.size()) && i < to.size(); i += word) {
        const std::size_t at = (offset + i) / word;
        std::memcpy(to.data() + i, &entries_[at / 4].words[at % 4], word);
    }
}

void message_vectors::write_table(std::size_t offset, std::span<const std::byte> from) noexcept
{
    for (std::size_t i = 0; whole_words(offset, from.size()) && i < from.size(); i += word) {
        const std::size_t at = (offset + i) / word;
        entry& v = entries_[at / 4];
        std::memcpy(&v.words[at % 4], from.data() + i, word);
        v.words[control] &= masked;
        update(v);
    }
}

void message_vectors::read_pending(std::size_t offset, std::span<std::byte> to) const noexcept
{
    for (std::size_t i = 0; i < to.size(); ++i) {
        unsigned bits = 0;
        for (std::size_t b = 0; b < 8; ++b) {
            const std::size_t at = (offset + i) * 8 + b;
            const bool pending =
                at < entries_.size() && !entries_[at].connected && entries_[at].signal.pending();
            bits |= (pending ? 1U : 0U) << b;
        }
        to[i] = static_cast<std::byte>(bits);
    }
}

} // namespace strait::vmm::pci

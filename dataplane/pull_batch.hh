// SPDX-License-Identifier: BSD-3-Clause
// Pieces of several packets' remote payload on their way to the hypervisor, which copies all of
// them in one call.
#pragma once

#include "dataplane/packet.hh"
#include "dataplane/remote.hh"

#include <array>
#include <cstddef>
#include <span>

namespace strait::dataplane {

// Used by one thread. What was added and not flushed is not copied.
class pull_batch {
public:
    // Copies `span` to `to`, this process's memory or a guest's. If that fails, `payload` is
    // marked.
    template <typename Target>
    void add(remote_payload& payload, const remote_span& span, Target to) noexcept
    {
        if (count_ == pieces_.size() || payload.copier != copier_) {
            flush();
            copier_ = payload.copier;
        }
        pieces_[count_] = remote_copy::pull(span, to);
        payloads_[count_++] = &payload;
    }
    void flush() noexcept
    {
        if (count_ == 0) {
            return;
        }
        copier_->copy(std::span{pieces_}.first(count_));
        for (std::size_t i = 0; i < count_; ++i) {
            if (!pieces_[i].done()) {
                payloads_[i]->unreadable = true;
            }
        }
        count_ = 0;
    }

private:
    // A burst of frames of two pages each; more make a second call.
    std::array<remote_copy, burst::capacity * 3> pieces_;
    std::array<remote_payload*, burst::capacity * 3> payloads_;
    std::size_t count_{0};
    remote_copier* copier_{nullptr};
};

} // namespace strait::dataplane

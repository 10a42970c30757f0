// SPDX-License-Identifier: BSD-3-Clause
// Packets and bytes that workers count at once, each for itself, and that are read as a sum.
#pragma once

#include "dataplane/counters.hh"
#include "dataplane/types.hh"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace strait::flow {

class tally {
public:
    explicit tally(std::size_t workers) : counted_(workers) {}

    // The worker alone.
    void count(dataplane::worker_index worker, std::uint64_t packets, std::uint64_t bytes) noexcept
    {
        one& mine = counted_[to_index(worker)];
        mine.packets.add(packets);
        mine.bytes.add(bytes);
    }
    // Any thread.
    [[nodiscard]] std::uint64_t packets() const noexcept { return sum(&one::packets); }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return sum(&one::bytes); }

private:
    struct alignas(64) one {
        dataplane::counter packets;
        dataplane::counter bytes;
    };
    [[nodiscard]] std::uint64_t sum(dataplane::counter one::*which) const noexcept
    {
        std::uint64_t out = 0;
        for (const one& o : counted_) {
            out += (o.*which).read();
        }
        return out;
    }

    std::vector<one> counted_;
};

} // namespace strait::flow

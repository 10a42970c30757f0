// SPDX-License-Identifier: BSD-3-Clause
// Connections that others have announced: found by the first packet's tuple but for its source
// port. Bounded in number and time. Those of some zones, whose lock is held.
#pragma once

#include "dataplane/conntrack/announcement.hh"
#include "dataplane/conntrack/table.hh"
#include "dataplane/reserved_memory.hh"

#include <array>
#include <cstdint>

namespace strait::conntrack {

struct expectation {
    // What its first packet will have; the source port is 0, for any.
    whole_tuple coming{};
    // What answers will have if addresses are translated; the destination port is 0, for the first
    // packet's source port.
    whole_tuple answers{};
    std::uint32_t mark{0}; // as the connection had that announced it
    flow::wide label{};
    seconds_t deadline{0}; // 0: none
};

class expectations {
public:
    expectations();

    void add(const expectation& e, seconds_t now) noexcept;
    // Null: nobody announced it.
    [[nodiscard]] expectation* find(const whole_tuple& first, seconds_t now) noexcept
    {
        return now >= last_deadline_ ? nullptr : search(first, now);
    }
    static void remove(expectation& e) noexcept { e.deadline = 0; }
    // Whether somebody else waits for what would look like this.
    [[nodiscard]] bool is_anothers(const expectation& e, seconds_t now) noexcept
    {
        const expectation* const known = find(e.coming, now);
        return known != nullptr && known->answers != e.answers;
    }

    // What one side of a connection announces, which packets of that side have the tuple
    // `announcing` of, and those of the other side `other`.
    [[nodiscard]] static expectation make(const announcement& a, const whole_tuple& announcing,
                                          const whole_tuple& other) noexcept;
    // Whether it says of itself where it waits, and nothing of somebody else.
    [[nodiscard]] static bool is_credible(const announcement& a,
                                          const whole_tuple& announcing) noexcept;

private:
    static constexpr std::size_t sets = 256;
    static constexpr std::size_t ways = 4;
    using set = std::array<expectation, ways>;

    [[nodiscard]] expectation* search(const whole_tuple& first, seconds_t now) noexcept;
    [[nodiscard]] set& set_of(const whole_tuple& coming) noexcept;

    seconds_t last_deadline_{0};
    dataplane::reserved_memory memory_{sets * sizeof(set)}; // as it comes, all are none
    set* sets_;
};

} // namespace strait::conntrack

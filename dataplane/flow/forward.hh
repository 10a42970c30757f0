// SPDX-License-Identifier: BSD-3-Clause
// Switching by flows: a burst's packets are looked up in the worker's cache in stages, translated
// where it has none, and run through their programs. Knows no queue; what leaves is put on lists.
#pragma once

#include "dataplane/flow/cache.hh"
#include "dataplane/flow/extract.hh"
#include "dataplane/forward.hh"

#include <algorithm>
#include <array>
#include <memory>
#include <span>

namespace strait::flow {

// What a worker does for the flows while it forwards.
class delivery {
public:
    virtual ~delivery() = default;
    // Delivers what is on the lists, which are empty then.
    virtual void deliver_lists() noexcept = 0;
};

struct surroundings {
    const pipeline& flows;
    const dataplane::port_config& in;
    const dataplane::forward_context& context;
    dataplane::port_counters& in_counters;
    dataplane::output_lists& out;
    delivery& lists;
    rte_mempool* pool; // for copies of packets whose payload cannot be shared
};

// Runs a program on a packet, of which `at` tells the headers. `copies` is room for the copies that
// are made of it; they stay there until the lists are delivered.
class runner {
public:
    explicit runner(dataplane::burst& copies) noexcept : copies_{copies} {}
    void run(std::span<const std::uint64_t> program, dataplane::packet_slot& p,
             const header_layout& at, const surroundings& around) noexcept;
    // The frame as it stands, by one port. False: it cannot be sent there.
    static bool send(dataplane::packet_slot& p, dataplane::port_index to,
                     const surroundings& around) noexcept;

private:
    struct frame_state;
    enum class use : std::uint8_t { none, as_it_is, switched };

    void run(std::span<const std::uint64_t> program, frame_state& f,
             const surroundings& around) noexcept;
    [[nodiscard]] bool make_own(frame_state& f, use next, const surroundings& around) noexcept;
    [[nodiscard]] dataplane::packet_slot* copy(dataplane::packet_slot& p,
                                               const surroundings& around) noexcept;
    [[nodiscard]] bool send_cut(dataplane::packet_slot& p, std::uint16_t longest,
                                dataplane::port_index to, const surroundings& around) noexcept;
    [[nodiscard]] bool switch_frame(frame_state& f, dataplane::port_index from, bool last,
                                    const surroundings& around) noexcept;
    static void flood(frame_state& f, dataplane::port_index from,
                      const surroundings& around) noexcept;
    void look_deeper(frame_state& f) noexcept;
    void change(frame_state& f, std::span<const std::uint64_t> changes) noexcept;

    dataplane::burst& copies_;
    key value_; // both are zero, but while a change is made
    key mask_;
};

// One worker's.
class switcher {
public:
    // Memory for the cache: see cache.
    explicit switcher(std::size_t cache_bytes);

    void forward(dataplane::burst& b, const surroundings& around) noexcept;
    [[nodiscard]] cache& entries() noexcept { return cache_; }
    [[nodiscard]] const cache& entries() const noexcept { return cache_; }

private:
    struct candidate {
        dataplane::packet_slot* p;
        std::uint64_t varying; // the key's word
        header_layout at;
        cache::question asked;

        [[nodiscard]] cache::packet_facts facts() const noexcept
        {
            constexpr std::uint32_t longest = 0xffff; // that keys and tests tell
            return {varying, std::min(p->length, longest)};
        }
    };

    template <std::size_t count>
    void forward_by(dataplane::burst& b, const surroundings& around) noexcept;

    // Whether an entry holds among the flows there are; then it is of their version.
    static bool is_current(cache::entry& e, const candidate& c, const pipeline& flows) noexcept;
    void run(std::span<const std::uint64_t> program, dataplane::drop_reason reason, candidate& c,
             const surroundings& around) noexcept;
    void translate_anew(candidate& c, cache::entry* old, dataplane::burst& b,
                        const surroundings& around) noexcept;

    cache cache_;
    key key_; // of one packet at a time
    std::unique_ptr<std::array<candidate, dataplane::burst::capacity>> candidates_;
    std::unique_ptr<std::array<std::uint64_t, key_words * dataplane::burst::capacity>> asked_;
    std::unique_ptr<translation> made_;
    std::unique_ptr<dataplane::burst> copies_;
    runner runner_;
};

} // namespace strait::flow

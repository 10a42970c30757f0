// SPDX-License-Identifier: BSD-3-Clause
// One worker's look at what comes from guarded ports, before anything else is done with it: what is
// not from a port's own stations is dropped, BPDUs are taken out, DHCP is shown to control,
// questions for neighbours that are known are answered. Nothing of it is called for other ports.
// Who is bound where is in guard.hh, what may pass in port_security.hh.
#pragma once

#include "dataplane/counters.hh"
#include "dataplane/flow/extract.hh"
#include "dataplane/guard/guard.hh"
#include "dataplane/output_lists.hh"
#include "dataplane/packet.hh"
#include "dataplane/snapshot.hh"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace strait::guard {

// Null: there is nobody to answer for `p`, which asks for a neighbour on the bridge of `in`; nor is
// there if it is no such question, or only its owner's business. `at` as extract() read it.
[[nodiscard]] const directory::neighbour*
find_answer(const port_guard& g, const dataplane::port_config& in, const dataplane::packet& p,
            const flow::header_layout& at, const dataplane::snapshot& config) noexcept;

class inspector {
public:
    explicit inspector(dataplane::worker_index worker) : worker_{worker} {}

    struct surroundings {
        const dataplane::snapshot& config;
        const dataplane::port_config& in; // has a guard
        dataplane::port_counters& counters;
        std::uint64_t tsc;
        dataplane::seconds_t now{0};
    };
    // A burst as it came. Returns that burst, or one with what of it may go on; answers are put
    // into `out`, and are there until the next call.
    [[nodiscard]] dataplane::burst& inspect(dataplane::burst& b, const surroundings& around,
                                            dataplane::output_lists& out) noexcept;
    // Shows control a BPDU, and counts what cannot be shown. False: it is none, or nobody wants it.
    bool take_bpdu(const dataplane::packet& p, const surroundings& around) noexcept;
    // Packets that came another way: moves those that may go on to the front, and returns them.
    // Nothing is answered.
    [[nodiscard]] std::span<dataplane::packet_slot*>
    inspect(std::span<dataplane::packet_slot*> packets, const surroundings& around) noexcept;

private:
    // Whether it goes on. `b`: where its payload lies; null: what is read of it must do.
    // `out`: where an answer goes; null: nowhere.
    [[nodiscard]] bool passes(dataplane::packet_slot& p, dataplane::burst* b,
                              const surroundings& around, dataplane::output_lists* out) noexcept;
    [[nodiscard]] bool show_dhcp(const dataplane::packet& p, bool from_server,
                                 const surroundings& around) noexcept;
    [[nodiscard]] bool answer(const dataplane::packet_slot& p, const flow::header_layout& at,
                              const surroundings& around, dataplane::output_lists& out) noexcept;

    dataplane::worker_index worker_;
    std::unique_ptr<dataplane::burst> answers_{new dataplane::burst};
    std::unique_ptr<dataplane::burst> rest_{new dataplane::burst}; // of a burst that lost some
};

} // namespace strait::guard

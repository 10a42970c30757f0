// SPDX-License-Identifier: BSD-3-Clause
// Translation of addresses as packets have them: headers get the addresses and ports of a tuple,
// those of packets that messages of ICMP have in them as well. Which those are is nat.hh's
// business.
#pragma once

#include "dataplane/conntrack/parse.hh"
#include "dataplane/conntrack/stream_edits.hh"

namespace strait::conntrack {

class translator {
public:
    // The packet becomes one of `wanted`. False: its headers cannot be changed, and are not.
    [[nodiscard]] bool translate(request& r, const whole_tuple& wanted) noexcept;

    struct error_change {
        whole_tuple inner; // what the packet that it is about becomes
        whole_tuple outer; // of the message, the addresses that are to change
        bool source;       // these are
        bool destination;
        const stream_edits* sent_by{nullptr}; // of whom the packet is; null: its numbers stay
    };
    // Of a message that read_embedded() understood.
    [[nodiscard]] bool translate_error(request& r, const error_change& wanted) noexcept;

private:
    void aim(const whole_tuple& wanted, bool source, bool destination) noexcept;
    [[nodiscard]] bool set(request& r) noexcept;

    flow::key value_; // both are zero, but while a change is made
    flow::key mask_;
};

} // namespace strait::conntrack

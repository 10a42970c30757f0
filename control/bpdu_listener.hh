// SPDX-License-Identifier: BSD-3-Clause
// Has the switch look at BPDUs as soon as workers show some, and at spanning trees once a second.
// What they come to is the switch's business.
#pragma once

#include "control/ring_listener.hh"
#include "control/switch.hh"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace strait::control {

class bpdu_listener {
public:
    // Both outlive it; everything happens in the thread that runs `io`.
    bpdu_listener(boost::asio::io_context& io, virtual_switch& sw);
    bpdu_listener(const bpdu_listener&) = delete;
    bpdu_listener& operator=(const bpdu_listener&) = delete;

private:
    void wait();

    virtual_switch& switch_;
    ring_listener rings_;
    boost::asio::steady_timer second_;
};

} // namespace strait::control

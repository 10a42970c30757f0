// SPDX-License-Identifier: BSD-3-Clause
// Has the switch look at DHCP messages as soon as workers show some, so that a client's address is
// bound before it uses it. What they come to is the switch's business.
#pragma once

#include "control/switch.hh"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

namespace strait::control {

class dhcp_listener {
public:
    // Both outlive it; everything happens in the thread that runs `io`.
    dhcp_listener(boost::asio::io_context& io, virtual_switch& sw);
    ~dhcp_listener();
    dhcp_listener(const dhcp_listener&) = delete;
    dhcp_listener& operator=(const dhcp_listener&) = delete;

private:
    void look();

    virtual_switch& switch_;
    boost::asio::posix::stream_descriptor bell_; // the switch's
};

} // namespace strait::control

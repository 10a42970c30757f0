// SPDX-License-Identifier: BSD-3-Clause
// Control's look at rings that workers fill: when they ring its bell, and in turn with everything
// else that control does.
#pragma once

#include "dataplane/doorbell.hh"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <functional>

namespace strait::control {

class ring_listener {
public:
    // `look` takes some of what there is, and tells whether there may be more. `io` and the bell
    // outlive it; everything happens in the thread that runs `io`, the first look at once.
    ring_listener(boost::asio::io_context& io, dataplane::doorbell& bell,
                  std::function<bool()> look);
    ~ring_listener();
    ring_listener(const ring_listener&) = delete;
    ring_listener& operator=(const ring_listener&) = delete;

private:
    void look();

    dataplane::doorbell& bell_;
    boost::asio::posix::stream_descriptor rings_; // the bell's descriptor, which stays the bell's
    std::function<bool()> take_;
};

} // namespace strait::control

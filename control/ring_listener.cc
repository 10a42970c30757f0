// SPDX-License-Identifier: BSD-3-Clause
// Waits as a worker does that sleeps.
#include "control/ring_listener.hh"

#include <boost/asio/post.hpp>

#include <utility>

namespace strait::control {

namespace asio = boost::asio;

ring_listener::ring_listener(asio::io_context& io, dataplane::doorbell& bell,
                             std::function<bool()> look)
    : bell_{bell}, rings_{io, bell.descriptor()}, take_{std::move(look)}
{
    this->look();
}

ring_listener::~ring_listener()
{
    rings_.release();
}

void ring_listener::look()
{
    bell_.listen(); // before the last look at the rings
    if (take_()) {
        // Others have their turn in between.
        asio::post(rings_.get_executor(), [this] { look(); });
        return;
    }
    rings_.async_wait(asio::posix::descriptor_base::wait_read,
                      [this](boost::system::error_code error) {
                          if (!error) {
                              bell_.stop_listening();
                              look();
                          }
                      });
}

} // namespace strait::control

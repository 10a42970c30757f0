// SPDX-License-Identifier: BSD-3-Clause
// Waits as a worker does that sleeps.
#include "control/dhcp_listener.hh"

#include <boost/asio/post.hpp>

namespace strait::control {

namespace asio = boost::asio;

dhcp_listener::dhcp_listener(asio::io_context& io, virtual_switch& sw)
    : switch_{sw}, bell_{io, sw.dhcp_bell().descriptor()}
{
    look();
}

dhcp_listener::~dhcp_listener()
{
    bell_.release();
}

void dhcp_listener::look()
{
    switch_.dhcp_bell().listen(); // before the last look at the rings
    if (switch_.look_at_dhcp(bindings::clock::now())) {
        // Others have their turn in between.
        asio::post(bell_.get_executor(), [this] { look(); });
        return;
    }
    bell_.async_wait(asio::posix::descriptor_base::wait_read,
                     [this](boost::system::error_code error) {
                         if (!error) {
                             switch_.dhcp_bell().stop_listening();
                             look();
                         }
                     });
}

} // namespace strait::control

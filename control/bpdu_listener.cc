// SPDX-License-Identifier: BSD-3-Clause
// Waits as a worker does that sleeps.
#include "control/bpdu_listener.hh"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <chrono>

namespace strait::control {

namespace asio = boost::asio;

bpdu_listener::bpdu_listener(asio::io_context& io, virtual_switch& sw)
    : switch_{sw}, bell_{io, sw.bpdu_bell().descriptor()}, second_{io}
{
    second_.expires_after(std::chrono::seconds{1});
    wait();
    look();
}

bpdu_listener::~bpdu_listener()
{
    bell_.release();
}

void bpdu_listener::look()
{
    switch_.bpdu_bell().listen(); // before the last look at the rings
    if (switch_.look_at_bpdus()) {
        // Others have their turn in between.
        asio::post(bell_.get_executor(), [this] { look(); });
        return;
    }
    bell_.async_wait(asio::posix::descriptor_base::wait_read,
                     [this](boost::system::error_code error) {
                         if (!error) {
                             switch_.bpdu_bell().stop_listening();
                             look();
                         }
                     });
}

// A second that is late does not make the next one late; one that was missed, as in a machine that
// was stopped, is not made up for: what neighbours said meanwhile has not been looked at.
void bpdu_listener::wait()
{
    second_.async_wait([this](boost::system::error_code error) {
        if (error) {
            return;
        }
        (void)switch_.look_at_bpdus(); // before anybody is missed
        switch_.look_at_trees();
        constexpr std::chrono::seconds interval{1};
        const auto now = std::chrono::steady_clock::now();
        const auto next = second_.expiry() + interval;
        second_.expires_at(next < now ? now + interval : next);
        wait();
    });
}

} // namespace strait::control

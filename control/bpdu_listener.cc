// SPDX-License-Identifier: BSD-3-Clause
#include "control/bpdu_listener.hh"

#include <chrono>

namespace strait::control {

namespace asio = boost::asio;

bpdu_listener::bpdu_listener(asio::io_context& io, virtual_switch& sw)
    : switch_{sw}, rings_{io, sw.bpdu_bell(), [&sw] { return sw.look_at_bpdus(); }}, second_{io}
{
    second_.expires_after(std::chrono::seconds{1});
    wait();
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

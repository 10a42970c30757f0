// SPDX-License-Identifier: BSD-3-Clause
#include "control/bpdu_listener.hh"

namespace strait::control {

namespace asio = boost::asio;

bpdu_listener::bpdu_listener(asio::io_context& io, virtual_switch& sw)
    : switch_{sw}, rings_{io, sw.bpdu_bell(), [&sw] { return sw.look_at_bpdus(); }}, second_{io}
{
    wait();
}

void bpdu_listener::wait()
{
    second_.expires_at(switch_.keep_trees());
    second_.async_wait([this](boost::system::error_code error) {
        if (!error) {
            wait();
        }
    });
}

} // namespace strait::control

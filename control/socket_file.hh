// SPDX-License-Identifier: BSD-3-Clause
// Binding a listening socket of Asio's to a path, for its owner and group alone.
#pragma once

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/system/error_code.hpp>

#include <string>

#include <sys/stat.h>

namespace strait::control {

// By the umask, so that the socket has its mode from the first moment; no other thread makes files
// meanwhile that others are to have. `acceptor` is open.
template <typename Acceptor>
void bind_socket_file(Acceptor& acceptor, const std::string& path, boost::system::error_code& error)
{
    constexpr mode_t no_others = 0117;
    const mode_t before = ::umask(no_others);
    acceptor.bind(boost::asio::local::stream_protocol::endpoint{path}, error);
    ::umask(before);
}

} // namespace strait::control

// SPDX-License-Identifier: BSD-3-Clause
// Why control refused something: a kind for programs and a sentence for people.
#pragma once

#include "ports/error.hh"

#include <boost/system/result.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace strait::control {

enum class failure_kind : std::uint8_t {
    not_found, // a port, bridge or MAC of that name does not exist
    exists,    // it exists already
    in_use,    // held by something else
    invalid,   // does not go together with what is there
    limit,     // more than the switch can have
    failed,    // a port type, the kernel or DPDK said no
};

struct failure {
    failure_kind kind{failure_kind::failed};
    std::string message;

    failure() = default;
    failure(failure_kind k, std::string m) : kind{k}, message{std::move(m)} {}
    // What ports report.
    failure(ports::error e) // NOLINT(google-explicit-constructor)
        : kind{failure_kind::failed}, message{std::move(e.message)}
    {}
};

template <typename T>
using outcome = boost::system::result<T, failure>;

[[noreturn]] inline void throw_exception_from_error(const failure& f,
                                                    const boost::source_location& /*where*/)
{
    throw std::runtime_error{f.message};
}

} // namespace strait::control

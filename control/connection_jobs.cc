// SPDX-License-Identifier: BSD-3-Clause
#include "control/connection_jobs.hh"

#include "control/worker_jobs.hh"
#include "dataplane/conntrack/tracker.hh"

#include <array>

namespace strait::control {

using conntrack::job;

void have_done(dataplane::engine& engine, job& j)
{
    have_done(engine, engine.tracker(dataplane::worker_index{0}), j);
}

std::size_t forget_connections(dataplane::engine& engine, const flow::match& which)
{
    job j{job::kind::forget, which};
    have_done(engine, j);
    return j.count();
}

std::optional<conntrack::connection_record> look_up_connection(dataplane::engine& engine,
                                                               conntrack::request& asked)
{
    std::array<conntrack::connection_record, 1> found;
    job j{asked, found};
    have_done(engine, j);
    return j.count() > 0 ? std::optional{found.front()} : std::nullopt;
}

} // namespace strait::control

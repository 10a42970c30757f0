// SPDX-License-Identifier: BSD-3-Clause
#include "control/trace_connections.hh"

#include "control/acl_stages.hh"
#include "control/connection_jobs.hh"

#include <boost/json/value.hpp>

namespace strait::control {

namespace json = boost::json;

namespace {

bool is_tracked_in(const conntrack::result& known, conntrack::zone_id zone) noexcept
{
    return known.state != 0 && known.zone == zone;
}

} // namespace

void trace_connections::answer(conntrack::request& asked, bool goes_on, bool leaves)
{
    if (asks_) {
        ask(asked);
    } else {
        assume(asked, goes_on, leaves);
    }
}

void trace_connections::ask(conntrack::request& asked)
{
    const conntrack::result before = asked.answer;
    const auto found = look_up_connection(switch_.engine(), asked);
    // What an earlier pass set is not in the connection, for nothing of a trace stays.
    if (is_tracked_in(before, asked.asked.zone)) {
        asked.answer.mark = before.mark;
        asked.answer.label = before.label;
        if (asked.asked.commit && (asked.answer.state & conntrack::state::invalid) == 0) {
            conntrack::give_marks(asked.answer, asked.asked);
        }
    }
    const zone_owners owners = owners_of_zones(switch_);
    const auto owner = conntrack::is_of_port(asked.asked.zone)
                           ? owners.find(conntrack::number_of(asked.asked.zone))
                           : owners.end();
    asked.answer.zone = asked.asked.zone;
    steps_.tracked(asked.answer, owner == owners.end() ? json::value{} : json::value(owner->second),
                   found ? json::value(to_json(*found, owners)) : json::value{});
}

// Nothing is translated then.
void trace_connections::assume(conntrack::request& asked, bool goes_on, bool leaves)
{
    using namespace conntrack::state;
    // What the packet's connection was given before, it still has.
    const conntrack::parameters& with = asked.asked;
    const conntrack::result before =
        is_tracked_in(asked.answer, with.zone) ? asked.answer : conntrack::result{};
    asked.answer = {
        .state = tracked | fresh, .mark = before.mark, .label = before.label, .zone = with.zone};
    conntrack::give_marks(asked.answer, with);
    if (goes_on && !states_.empty()) {
        asked.answer.state = states_.front();
        states_ = states_.subspan(1);
        // Rule sets know by the mark who began a connection, which the direction tells here.
        const bool is_reply = (asked.answer.state & reply) != 0;
        if (conntrack::is_of_port(with.zone) && (asked.answer.state & established) != 0 &&
            is_reply == leaves) {
            asked.answer.mark |= acl_mark_from;
        }
    }
}

} // namespace strait::control

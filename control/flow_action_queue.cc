// SPDX-License-Identifier: BSD-3-Clause
// Reading actions that choose a shaped port's queue.
#include "control/flow_action_reader.hh"

#include "control/flow_values.hh"

namespace strait::control {

namespace {

flow_result<flow::queue_id> parse_queue(std::string_view text)
{
    const auto queue = parse_number(text, flow::last_queue, "queue");
    if (queue.has_error()) {
        return queue.error();
    }
    return static_cast<flow::queue_id>(*queue);
}

} // namespace

flow_result<void> action_reader::take_set_queue(const flow_word& word)
{
    const auto queue = parse_queue(word.value);
    if (queue.has_error()) {
        return queue.error();
    }
    return put(flow::set_queue{*queue});
}

flow_result<void> action_reader::take_pop_queue(const flow_word& word)
{
    if (const auto alone = without_value(word); alone.has_error()) {
        return alone.error();
    }
    return put(flow::pop_queue{});
}

// enqueue:port:queue, enqueue(port,queue).
flow_result<void> action_reader::take_enqueue(const flow_word& word)
{
    const std::size_t between = word.value.rfind(word.mark == '(' ? ',' : ':');
    if (between == std::string_view::npos) {
        return flow_fault{word.all,
                          "enqueue takes a port and a queue, like enqueue:1:2 or enqueue(1,2)"};
    }
    const std::string_view to = trimmed(word.value.substr(0, between));
    const auto port = parse_port(to, *ports_);
    if (port.has_error()) {
        return port.error();
    }
    if (*port > last_port_number && *port != flow::ports::in_port && *port != flow::ports::local) {
        return flow_fault{to, shown(to) +
                                  " has no queue; enqueue is for a port's number, its name, "
                                  "IN_PORT or LOCAL"};
    }
    const auto queue = parse_queue(trimmed(word.value.substr(between + 1)));
    if (queue.has_error()) {
        return queue.error();
    }
    return put(flow::enqueue{*port, *queue});
}

} // namespace strait::control

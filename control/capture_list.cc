// SPDX-License-Identifier: BSD-3-Clause
// Beginnings and ends. A capture's thread never calls the switch: what it wants is posted.
#include "control/capture_list.hh"

#include "control/log.hh"

#include <boost/asio/post.hpp>

#include <string>
#include <utility>

namespace strait::control {

namespace asio = boost::asio;

capture_list::capture_list(asio::io_context& io, virtual_switch& sw) : io_{io}, switch_{sw} {}

capture_list::~capture_list()
{
    *alive_ = false;
    for (auto& [id, c] : all_) {
        if (c.tap != 0) {
            switch_.remove_tap(c.tap);
        }
        c.writer->abandon();
    }
    all_.clear(); // waits for the threads
}

outcome<std::int64_t> capture_list::prepare(tap_request request, tap_writer::settings settings,
                                            std::uint32_t snaplen, rpc::takeover& then)
{
    if (all_.size() >= most) {
        return failure{failure_kind::limit, "there are " + std::to_string(most) +
                                                " captures already, and no more at once; end one"};
    }
    const std::int64_t id = ++last_;
    const auto alive = alive_;
    const auto posts = [this, id, alive](void (capture_list::*what)(std::int64_t)) {
        return [this, id, alive, what] {
            asio::post(io_, [this, id, alive, what] {
                if (*alive) {
                    (this->*what)(id);
                }
            });
        };
    };
    request.outlet = make_ring_outlet(switch_.engine().worker_count());
    request.outlet->name = "capture " + std::to_string(id);
    request.outlet->snaplen = snaplen;
    auto writer =
        std::make_unique<tap_writer>(request.outlet, std::move(settings), posts(&capture_list::end),
                                     posts(&capture_list::forget));
    request.ports_change = [w = writer.get()](const dataplane::snapshot& config) {
        w->ports_change(config);
    };
    all_.emplace(id, capture{std::move(request), std::move(writer)});
    // Whoever drops it without a call gives the capture up.
    const std::shared_ptr<void> ticket{nullptr, [this, id, alive](void*) {
                                           const auto found = *alive ? all_.find(id) : all_.end();
                                           if (found != all_.end() && found->second.tap == 0) {
                                               found->second.writer->abandon();
                                               all_.erase(found);
                                           }
                                       }};
    then = [this, id, alive, ticket](int descriptor) {
        dataplane::file_descriptor to{descriptor};
        if (*alive) {
            begin(id, to.release());
        }
    };
    return id;
}

void capture_list::begin(std::int64_t id, int descriptor)
{
    capture& c = all_.at(id);
    c.writer->start(dataplane::file_descriptor{descriptor});
    c.tap = switch_.add_tap(std::move(c.request));
    log(log_level::info, "control", "capture " + std::to_string(id) + " begun");
}

void capture_list::end(std::int64_t id)
{
    const auto found = all_.find(id);
    if (found == all_.end()) {
        return;
    }
    switch_.remove_tap(found->second.tap);
    found->second.writer->finish();
}

void capture_list::forget(std::int64_t id)
{
    const auto found = all_.find(id);
    if (found == all_.end()) {
        return;
    }
    const tap_writer::summary s = found->second.writer->result();
    all_.erase(found);
    results_[id] = s;
    if (results_.size() > results_kept) {
        results_.erase(results_.begin());
    }
    log(log_level::info, "control",
        "capture " + std::to_string(id) + " ended: " + std::to_string(s.packets) +
            " packets written, " + std::to_string(s.lost) + " lost" +
            (s.why.empty() ? "" : "; " + s.why));
}

outcome<tap_writer::summary> capture_list::result(std::int64_t id) const
{
    if (const auto running = all_.find(id); running != all_.end()) {
        return running->second.writer->result();
    }
    if (const auto ended = results_.find(id); ended != results_.end()) {
        return ended->second;
    }
    return failure{failure_kind::not_found, "there is no capture " + std::to_string(id)};
}

} // namespace strait::control

// SPDX-License-Identifier: BSD-3-Clause
// Hellos of spanning tree while the control thread, which sends them, is held by one long step:
// what it would say is said again, on a thread of its own, before neighbours miss the bridge. Not
// for ever: a control thread that is never seen again is gone. What hellos say is the switch's
// business.
#pragma once

#include "dataplane/bpdu_channel.hh"
#include "dataplane/types.hh"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace strait::control {

class hello_repeater {
public:
    using clock = std::chrono::steady_clock;

    struct hello {
        dataplane::worker_index worker;
        dataplane::bpdu_channel::outgoing frame;
    };
    struct hellos { // a bridge's
        std::vector<hello> all;
        clock::duration every;
        clock::duration lasts; // from renew() on
    };

    // Called by the thread, and not before there are hellos. Throws std::system_error where there
    // is no thread to be had: at once, and not in the midst of a change.
    explicit hello_repeater(std::function<void(const hello&)> send);
    ~hello_repeater();
    hello_repeater(const hello_repeater&) = delete;
    hello_repeater& operator=(const hello_repeater&) = delete;

    // What is sent again if this is not called anew within half of `every`, and then each time that
    // `every` has passed. What was to be sent before is not any more, once it has returned.
    void renew(dataplane::bridge_index of, hellos now_on, clock::time_point now);

private:
    struct one {
        hellos is;
        clock::time_point next;
        clock::time_point end;
    };

    void run();

    std::function<void(const hello&)> send_;
    std::mutex mutex_; // of all below but the thread itself
    std::condition_variable wake_;
    std::map<dataplane::bridge_index, one> bridges_;
    clock::time_point wakes_at_{}; // by itself
    bool stops_{false};
    std::thread thread_; // begins when all else is there
};

} // namespace strait::control

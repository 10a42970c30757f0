// SPDX-License-Identifier: BSD-3-Clause
// A simulated hypervisor in a test's own process, on a socket in a folder of its own, and other
// processes that connect to it; what a process holds, to be counted.
#pragma once

#include "ports/xen-netback/simulated/server.hh"
#include "ports/xen-netback/simulated/simulated_guest.hh"
#include "ports/xen-netback/simulated/simulated_hypervisor.hh"
#include "ports/xen-netback/simulated/tool_stack.hh"

#include <chrono>
#include <cstddef>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace strait::xen::simulated::test {

// Waits until it holds, a few seconds at most.
bool eventually(const std::function<bool()>& holds,
                std::chrono::milliseconds patience = std::chrono::seconds{5});

inline constexpr memory_layout small_domain{512, 64};

class lab {
public:
    explicit lab(const faults& wrong = {}, std::size_t connections = 1024);
    lab(const lab&) = delete;
    lab& operator=(const lab&) = delete;
    ~lab();

    [[nodiscard]] const std::string& socket() const noexcept { return socket_; }
    [[nodiscard]] server_thread& server() noexcept { return *server_; }
    void end_server() { server_.reset(); }

    [[nodiscard]] std::unique_ptr<simulated_hypervisor> hypervisor(domain_id own = domain_id{0});
    [[nodiscard]] std::unique_ptr<simulated_guest> guest(domain_id own,
                                                         memory_layout layout = small_domain);
    [[nodiscard]] std::unique_ptr<tool_stack> tools();

private:
    std::string folder_;
    std::string socket_;
    std::unique_ptr<server_thread> server_;
};

// The next event of a store's watches, if there is one within that time.
std::optional<watch_event> next_event(xen::store& s,
                                      std::chrono::milliseconds patience = std::chrono::seconds{5});
// All that come until none has come for that long; as (path, token).
std::vector<std::pair<std::string, std::string>>
all_events(xen::store& s, std::chrono::milliseconds quiet = std::chrono::milliseconds{20});

// A program in a process of its own. Killed with this object.
class child {
public:
    // This program again, doing what the words say (run_child() in the test).
    explicit child(std::vector<std::string> words);
    child(const std::string& program, std::vector<std::string> words);
    child(const child&) = delete;
    child& operator=(const child&) = delete;
    ~child();

    // The next line of its output and errors; empty at their end.
    [[nodiscard]] std::string line();
    // Its exit status once the signal has ended it; -1: it was killed. 0: it ends by itself.
    int end(int signal);
    void kill();

private:
    pid_t pid_{-1};
    file_descriptor output_;
};

// What a process can leak.
struct holdings {
    std::size_t descriptors; // open files
    std::size_t mappings;    // of domains' memory
    std::size_t heap;        // bytes of malloc in use
    [[nodiscard]] static holdings now();
};
std::ostream& operator<<(std::ostream& out, const holdings& h);

} // namespace strait::xen::simulated::test

// SPDX-License-Identifier: BSD-3-Clause
// The inside of the simulated hypervisor's server: its domains, and a client's connection with what
// it holds. All of it is the server's one thread's.
#pragma once

#include "ports/xen-netback/simulated/domain_memory.hh"
#include "ports/xen-netback/simulated/faults.hh"
#include "ports/xen-netback/simulated/store_tree.hh"
#include "ports/xen-netback/simulated/wire.hh"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace strait::xen::simulated {

// Free numbers of a range.
class numbers {
public:
    numbers(std::uint32_t first, std::uint32_t end) { free_[first] = end; }
    // The first of `count` free ones in a row.
    std::optional<std::uint32_t> take(std::uint32_t count);
    void give_back(std::uint32_t first, std::uint32_t count);

private:
    std::map<std::uint32_t, std::uint32_t> free_; // first -> end
};

class connection;

// One end is offered, the other bound to it or not.
struct channel {
    domain_id offered_to;
    const connection* offered_by;
    const connection* bound_by{nullptr};
    file_descriptor towards_offerer;
    file_descriptor towards_binder;
};

struct domain {
    domain(domain_id i, domain_memory m)
        : id{i},
          memory{std::move(m)},
          frames{memory.layout().first_page(), memory.layout().end()},
          grants{memory_layout::reserved_grants, memory.layout().grants}
    {}
    domain_id id;
    domain_memory memory;
    numbers frames;
    numbers grants;
    std::map<std::uint32_t, std::shared_ptr<channel>> ports;
    std::size_t connections{0};
};

// What connections share. Made or asked for what cannot be, it throws what connections answer.
struct world {
    explicit world(boost::asio::io_context& i)
        : io{i}, store{[this](store_tree::client to, watch_event e) { deliver(to, std::move(e)); }}
    {}
    void deliver(store_tree::client to, watch_event e);
    void end(domain_id id);
    std::shared_ptr<domain> make(domain_id id, memory_layout layout);
    domain& find(domain_id id);
    void set_faults(faults f);
    // What clients have to know of the faults.
    [[nodiscard]] std::string faults_of_copies() const
    {
        faults copies = plan->settings();
        std::erase_if(copies.rules, [](const fault_rule& r) { return r.on != operation::copy; });
        return to_json(copies);
    }

    boost::asio::io_context& io;
    store_tree store;
    std::unique_ptr<fault_plan> plan{std::make_unique<fault_plan>(faults{})};
    std::map<domain_id, std::shared_ptr<domain>> domains;
    std::map<store_tree::client, std::shared_ptr<connection>> connections;
    store_tree::client last_client{0};
    std::vector<std::byte> buffer;
};

// One client, as the domain that it says it is.
class connection : public std::enable_shared_from_this<connection> {
public:
    connection(world& w, file_descriptor socket, store_tree::client id)
        : world_{w}, id_{id}, socket_{w.io, socket.get()}, events_{w.io}, timer_{w.io}
    {
        (void)socket.release();
    }

    void wait(); // for its requests
    // Hangs up, and takes back what the client had.
    void close();
    // Tells it something after `delay`; `e` is what may be merged with what waits.
    void queue(wire::writer message, std::chrono::milliseconds delay, std::optional<watch_event> e);
    [[nodiscard]] bool greeted() const noexcept { return domain_ != nullptr; }
    [[nodiscard]] const std::shared_ptr<domain>& own() const noexcept { return domain_; }
    // The grants in use through mappings of this connection, in that domain.
    void count_mapped(const domain& of, std::map<std::uint32_t, std::uint32_t>& uses) const;

private:
    struct mapping {
        std::shared_ptr<domain> of;
        std::vector<std::uint32_t> references;
    };
    struct range {
        std::uint32_t first;
        std::uint32_t count;
    };
    struct pending {
        std::chrono::steady_clock::time_point due;
        wire::writer message;
        std::optional<watch_event> event;
    };
    struct answer {
        wire::writer fields;
        std::vector<int> descriptors; // owned by others
        std::vector<file_descriptor> owned;
    };

    void ready();
    bool handle(wire::reader in); // false: hang up
    void answer_request(wire::reader& in, answer& out);
    void hello(wire::reader& in, answer& out);
    void map(wire::reader& in, answer& out);
    void bind(wire::reader& in, answer& out);
    void offer(wire::reader& in, answer& out);
    void ask_store(wire::request kind, wire::reader& in, answer& out);
    static void done(const wire::reader& in);
    template <typename Held>
    static Held take(wire::reader& in, std::map<std::uint32_t, Held>& from, const char* what);
    void privileged(const char* what) const;
    // A delay that the rule asks for, or a refusal, or nothing.
    std::uint64_t strike(operation on, domain_id d, std::span<const std::uint32_t> references,
                         const std::string& what);
    void release(const mapping& m);
    void unbind(const std::shared_ptr<channel>& c) const
    {
        if (c->bound_by == this) {
            c->bound_by = nullptr;
        }
    }
    void flush();

    world& world_;
    store_tree::client id_;
    boost::asio::posix::stream_descriptor socket_;
    boost::asio::posix::stream_descriptor events_;
    boost::asio::steady_timer timer_;
    std::shared_ptr<domain> domain_;
    std::map<std::uint32_t, mapping> mappings_;
    std::map<std::uint32_t, std::shared_ptr<channel>> bindings_;
    std::vector<range> frames_;
    std::vector<range> grants_;
    std::deque<pending> pending_;
    std::uint32_t last_identity_{0};
    bool waiting_{false}; // for the events' socket or the timer
};

} // namespace strait::xen::simulated

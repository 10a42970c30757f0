// SPDX-License-Identifier: BSD-3-Clause
// A table of the metrics, each with what writes its samples.
#include "control/metrics.hh"

#include "control/stp/text.hh"
#include "control/version.hh"
#include "dataplane/conntrack/tracker.hh"
#include "dataplane/flow/cache.hh"
#include "ports/number.hh"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <concepts>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include <rte_cycles.h>
#include <rte_mempool.h>
#include <rte_version.h>
#include <sys/resource.h>
#include <unistd.h>

namespace strait::control {

namespace {

using dataplane::drop_reason_count;
using dataplane::drop_reasons;
using dataplane::worker_index;

constexpr double nanoseconds = 1e-9;

// name="value", with what the format has escapes for.
std::string label(std::string_view name, std::string_view value)
{
    std::string out{name};
    out += "=\"";
    for (const char c : value) {
        if (c == '\n') {
            out += "\\n";
            continue;
        }
        if (c == '"' || c == '\\') {
            out += '\\';
        }
        out += c;
    }
    return out += '"';
}

std::string label(std::string_view name, std::integral auto value)
{
    return label(name, std::to_string(value));
}

struct one_port {
    const virtual_switch::port* port;
    port_totals totals;
    std::optional<stp::port_view> tree; // if spanning tree runs on it
    std::string label;
};

struct one_worker {
    worker_index index;
    unsigned cpu;
    std::string label;
};

struct one_bridge {
    const virtual_switch::bridge* bridge;
    std::optional<stp::bridge_view> tree; // likewise
    std::string label;
};

// What a page is written of.
struct facts {
    dataplane::engine& engine;
    double process_started;
    std::vector<one_port> ports{};
    std::vector<one_worker> workers{};
    std::vector<one_bridge> bridges{};
};

// Writes the samples of one metric at a time.
class sheet {
public:
    void begin(const metric& m)
    {
        name_ = m.name;
        const std::string_view type = m.type == metric_type::counter ? "counter" : "gauge";
        for (const std::string_view part :
             {std::string_view{"# HELP "}, m.name, std::string_view{" "}, m.help,
              std::string_view{"\n# TYPE "}, m.name, std::string_view{" "}, type,
              std::string_view{"\n"}}) {
            text_ += part;
        }
    }
    // `labels`: name="value", commas between them.
    void put(std::string_view labels, auto value)
    {
        text_ += name_;
        if (!labels.empty()) {
            text_ += '{';
            text_ += labels;
            text_ += '}';
        }
        text_ += ' ';
        std::array<char, 32> digits{};
        const auto end = std::to_chars(digits.begin(), digits.end(), value).ptr;
        text_.append(digits.begin(), end);
        text_ += '\n';
    }
    [[nodiscard]] std::string take() && { return std::move(text_); }

private:
    std::string text_;
    std::string_view name_;
};

struct family : metric {
    void (*write)(sheet& s, const facts& f);
};

template <auto Member>
void of_each_port(sheet& s, const facts& f)
{
    for (const one_port& p : f.ports) {
        s.put(p.label, p.totals.*Member);
    }
}

template <auto Member>
void of_each_tree_port(sheet& s, const facts& f)
{
    for (const one_port& p : f.ports) {
        if (p.tree) {
            s.put(p.label, (*p.tree).*Member);
        }
    }
}

// One of `all`: a sample of each, 1 for what it is and 0 for what it is not.
template <auto Member>
void kind_of_each_tree_port(sheet& s, const facts& f, std::string_view name, const auto& all)
{
    for (const one_port& p : f.ports) {
        for (std::size_t i = 0; p.tree && i < all.size(); ++i) {
            s.put(p.label + ',' + label(name, stp::to_text(all[i])),
                  (*p.tree).*Member == all[i] ? 1 : 0);
        }
    }
}

void put_tree_roles(sheet& s, const facts& f)
{
    using stp::role;
    kind_of_each_tree_port<&stp::port_view::role>(
        s, f, "role",
        std::array{role::root, role::designated, role::alternate, role::backup, role::disabled});
}

void put_tree_states(sheet& s, const facts& f)
{
    using stp::state;
    kind_of_each_tree_port<&stp::port_view::state>(
        s, f, "state", std::array{state::discarding, state::learning, state::forwarding});
}

void put_tree_roots(sheet& s, const facts& f)
{
    for (const one_bridge& b : f.bridges) {
        if (b.tree) {
            s.put(b.label, b.tree->root_port == 0 ? 1 : 0);
        }
    }
}

template <auto Member>
void of_each_tree(sheet& s, const facts& f)
{
    for (const one_bridge& b : f.bridges) {
        if (b.tree) {
            s.put(b.label, (*b.tree).*Member);
        }
    }
}

// As a time, which stays what it is until there is another; how long ago that is can be told of it.
void put_times_of_tree_changes(sheet& s, const facts& f)
{
    for (const one_bridge& b : f.bridges) {
        if (b.tree && b.bridge->tree_changed_at) {
            const std::chrono::duration<double> since =
                b.bridge->tree_changed_at->time_since_epoch();
            s.put(b.label, since.count());
        }
    }
}

template <bool Ingress>
void drops_of_each_port(sheet& s, const facts& f)
{
    for (const one_port& p : f.ports) {
        for (std::size_t i = 0; i < drop_reason_count; ++i) {
            if (drop_reasons()[i].ingress == Ingress) {
                s.put(p.label + ',' + label("reason", drop_reasons()[i].name), p.totals.drops[i]);
            }
        }
    }
}

// Those of reasons that there were: a port may have 16 queues.
void drops_of_each_queue(sheet& s, const facts& f)
{
    for (const one_port& p : f.ports) {
        std::size_t number = 0;
        for (const dataplane::queue_config& q : p.port->config->queues) {
            const std::string queue = p.label + ',' + label("queue", number++);
            for (std::size_t i = 0; q.counters && i < drop_reason_count; ++i) {
                if (const std::uint64_t count = q.counters->drops[i].read(); count != 0) {
                    s.put(queue + ',' + label("reason", drop_reasons()[i].name), count);
                }
            }
        }
    }
}

template <auto Member>
void of_each_queue(sheet& s, const facts& f)
{
    for (const one_port& p : f.ports) {
        std::size_t number = 0;
        for (const dataplane::queue_config& q : p.port->config->queues) {
            const std::string queue = p.label + ',' + label("queue", number++);
            s.put(queue, q.counters ? ((*q.counters).*Member).read() : 0);
        }
    }
}

template <auto Member>
void of_each_worker(sheet& s, const facts& f)
{
    for (const one_worker& w : f.workers) {
        s.put(w.label, (f.engine.counters(w.index).*Member).read());
    }
}

template <auto Member>
void of_each_cache(sheet& s, const facts& f)
{
    for (const one_worker& w : f.workers) {
        s.put(w.label, (std::as_const(f.engine).flow_cache(w.index).counters.*Member).read());
    }
}

template <auto Member>
void of_all_trackers(sheet& s, const facts& f)
{
    std::uint64_t sum = 0;
    for (const one_worker& w : f.workers) {
        sum += (f.engine.tracker(w.index).counters.*Member).read();
    }
    s.put({}, sum);
}

double seconds(std::uint64_t cycles)
{
    return static_cast<double>(cycles) / static_cast<double>(rte_get_tsc_hz());
}

void put_build(sheet& s, const facts& /*f*/)
{
    std::string_view dpdk = rte_version();
    constexpr std::string_view prefix = "DPDK ";
    dpdk.remove_prefix(dpdk.starts_with(prefix) ? prefix.size() : 0);
    s.put(label("version", version()) + ',' + label("dpdk", dpdk), 1);
}

void put_cpu_time(sheet& s, const facts& /*f*/)
{
    rusage used{};
    (void)::getrusage(RUSAGE_SELF, &used);
    constexpr double microseconds = 1e-6;
    s.put({},
          static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
              static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * microseconds);
}

void put_open_files(sheet& s, const facts& /*f*/)
{
    std::error_code error;
    std::filesystem::directory_iterator files{"/proc/self/fd", error};
    std::int64_t count = -1; // the one that this is read by is closed then
    while (!error && files != std::filesystem::directory_iterator{}) {
        ++count;
        files.increment(error);
    }
    s.put({}, std::max<std::int64_t>(count, 0));
}

void put_most_files(sheet& s, const facts& /*f*/)
{
    rlimit limit{};
    (void)::getrlimit(RLIMIT_NOFILE, &limit);
    s.put({}, limit.rlim_cur);
}

void put_memory(sheet& s, const facts& /*f*/)
{
    std::ifstream file{"/proc/self/statm"}; // proc(5): size, resident, ... in pages
    std::uint64_t size = 0;
    std::uint64_t resident = 0;
    file >> size >> resident;
    s.put({}, resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
}

void put_time_of_workers(sheet& s, const facts& f)
{
    for (const one_worker& w : f.workers) {
        const auto& c = f.engine.counters(w.index);
        for (const auto& [state, cycles] :
             {std::pair{"busy", c.busy_cycles.read()}, std::pair{"idle", c.idle_cycles.read()},
              std::pair{"asleep", c.asleep.read(rte_rdtsc_precise)}}) {
            s.put(w.label + ',' + label("state", state), seconds(cycles));
        }
    }
}

constexpr auto counter = metric_type::counter;
constexpr auto gauge = metric_type::gauge;
using conntrack::tracker_counters;
using dataplane::worker_counters;
using flow::cache_counters;

const std::array families{
    family{{"strait_build_info", gauge, "1, with the versions of straitd and of DPDK."}, put_build},
    family{{"process_start_time_seconds", gauge, "When straitd started, in seconds since 1970."},
           [](sheet& s, const facts& f) { s.put({}, f.process_started); }},
    family{{"process_cpu_seconds_total", counter, "CPU time of straitd, workers included."},
           put_cpu_time},
    family{{"process_resident_memory_bytes", gauge, "Memory of straitd that is resident."},
           put_memory},
    family{{"process_open_fds", gauge, "File descriptors of straitd that are open."},
           put_open_files},
    family{{"process_max_fds", gauge, "File descriptors that straitd may have."}, put_most_files},

    family{{"strait_bridge_macs", gauge, "MACs in the bridge's table."},
           [](sheet& s, const facts& f) {
               for (const one_bridge& b : f.bridges) {
                   s.put(b.label, b.bridge->config->macs->size(f.engine.now()));
               }
           }},
    family{{"strait_bridge_mac_limit", gauge, "MACs that the bridge's table has room for."},
           [](sheet& s, const facts& f) {
               for (const one_bridge& b : f.bridges) {
                   s.put(b.label, b.bridge->mac_table_size);
               }
           }},
    family{{"strait_bridge_mac_holds_total", counter,
            "MACs that moved as in a loop, and were held for that."},
           [](sheet& s, const facts& f) {
               for (const one_bridge& b : f.bridges) {
                   s.put(b.label, b.bridge->config->macs->holds());
               }
           }},
    family{{"strait_bridge_flows", gauge, "Flows of the bridge."},
           [](sheet& s, const facts& f) {
               for (const one_bridge& b : f.bridges) {
                   s.put(b.label, b.bridge->flows->size());
               }
           }},
    family{{"strait_bridge_flow_limit", gauge, "Flows that the bridge may have."},
           [](sheet& s, const facts& f) {
               for (const one_bridge& b : f.bridges) {
                   s.put(b.label, b.bridge->flows->limit());
               }
           }},

    family{
        {"strait_bridge_rstp_root", gauge, "1 if the bridge is its spanning tree's root, else 0."},
        put_tree_roots},
    family{{"strait_bridge_rstp_root_path_cost", gauge,
            "Cost of the bridge's way to its spanning tree's root."},
           of_each_tree<&stp::bridge_view::cost>},
    family{{"strait_bridge_rstp_topology_changes_total", counter,
            "Topology changes that the bridge found or heard of."},
           of_each_tree<&stp::bridge_view::topology_changes>},
    family{{"strait_bridge_rstp_last_topology_change_timestamp_seconds", gauge,
            "When the last of these was, in seconds since 1970."},
           put_times_of_tree_changes},

    family{{"strait_port_info", gauge, "1, with the port's bridge, type and number."},
           [](sheet& s, const facts& f) {
               for (const one_port& p : f.ports) {
                   s.put(p.label + ',' + label("bridge", p.port->request.bridge) + ',' +
                             label("type", p.port->request.type) + ',' +
                             label("number", p.port->number),
                         1);
               }
           }},
    family{{"strait_port_link_up", gauge, "1 while a guest or peer is there, else 0."},
           [](sheet& s, const facts& f) {
               for (const one_port& p : f.ports) {
                   s.put(p.label, p.port->device->link_up() ? 1 : 0);
               }
           }},
    family{{"strait_port_admin_up", gauge, "1 if the port may pass traffic, else 0."},
           [](sheet& s, const facts& f) {
               for (const one_port& p : f.ports) {
                   s.put(p.label, p.port->config->admin_up ? 1 : 0);
               }
           }},
    family{{"strait_port_mtu_bytes", gauge, "The port's L3 MTU."},
           [](sheet& s, const facts& f) {
               for (const one_port& p : f.ports) {
                   s.put(p.label, p.port->config->mtu);
               }
           }},
    family{{"strait_port_receive_packets_total", counter, "Packets from the port into the switch."},
           of_each_port<&port_totals::rx_packets>},
    family{{"strait_port_receive_bytes_total", counter,
            "Bytes of these packets, whole frames without FCS."},
           of_each_port<&port_totals::rx_bytes>},
    family{{"strait_port_receive_drops_total", counter,
            "Packets from the port that were dropped, by reason."},
           drops_of_each_port<true>},
    family{
        {"strait_port_transmit_packets_total", counter, "Packets out of the switch by the port."},
        of_each_port<&port_totals::tx_packets>},
    family{{"strait_port_transmit_bytes_total", counter,
            "Bytes of these packets, whole frames without FCS."},
           of_each_port<&port_totals::tx_bytes>},
    family{{"strait_port_transmit_drops_total", counter,
            "Packets that were to leave by the port and were dropped, by reason."},
           drops_of_each_port<false>},

    family{{"strait_port_rstp_role", gauge,
            "1 for the role that the port has in spanning tree, 0 for the others."},
           put_tree_roles},
    family{{"strait_port_rstp_state", gauge,
            "1 for the state that spanning tree has the port in, 0 for the others."},
           put_tree_states},
    family{{"strait_port_rstp_receive_bpdus_total", counter,
            "BPDUs that came by the port and could be read."},
           of_each_tree_port<&stp::port_view::received>},
    family{{"strait_port_rstp_transmit_bpdus_total", counter, "BPDUs that the port sent."},
           of_each_tree_port<&stp::port_view::sent>},
    family{{"strait_port_rstp_refused_bpdus_total", counter,
            "BPDUs that came by the port and were damaged, not understood or too old."},
           of_each_tree_port<&stp::port_view::refused>},
    family{{"strait_port_rstp_forward_transitions_total", counter,
            "Times that the port came to forward."},
           of_each_tree_port<&stp::port_view::became_forwarding>},

    family{{"strait_queue_receive_packets_total", counter,
            "Packets that the port's queue pair took in."},
           of_each_queue<&dataplane::queue_counters::rx_packets>},
    family{{"strait_queue_transmit_packets_total", counter,
            "Packets that the port's queue pair sent out."},
           of_each_queue<&dataplane::queue_counters::tx_packets>},
    family{{"strait_queue_seconds_total", counter,
            "Time of its worker that what came by the queue pair took."},
           [](sheet& s, const facts& f) {
               for (const one_port& p : f.ports) {
                   std::size_t number = 0;
                   for (const dataplane::queue_config& q : p.port->config->queues) {
                       s.put(p.label + ',' + label("queue", number++),
                             seconds(q.counters ? q.counters->cycles.read() : 0));
                   }
               }
           }},
    family{{"strait_queue_drops_total", counter,
            "Of the port's dropped packets those of the queue pair, by reason."},
           drops_of_each_queue},

    family{{"strait_worker_info", gauge, "1, with the worker's CPU."},
           [](sheet& s, const facts& f) {
               for (const one_worker& w : f.workers) {
                   s.put(w.label + ',' + label("cpu", w.cpu), 1);
               }
           }},
    family{{"strait_worker_seconds_total", counter,
            "Time of the worker, by what it was: busy with packets, idle while it polled, asleep."},
           put_time_of_workers},
    family{
        {"strait_worker_iterations_total", counter, "Times that the worker looked at its queues."},
        of_each_worker<&worker_counters::iterations>},
    family{{"strait_worker_receive_packets_total", counter, "Packets that the worker took."},
           of_each_worker<&worker_counters::rx_packets>},
    family{{"strait_worker_transmit_packets_total", counter, "Packets that the worker sent."},
           of_each_worker<&worker_counters::tx_packets>},
    family{{"strait_worker_handed_over_packets_total", counter,
            "Packets that the worker gave to others."},
           of_each_worker<&worker_counters::handed_over>},
    family{{"strait_worker_mac_table_full_total", counter,
            "Source MACs that found no room in their bridge's table."},
           of_each_worker<&worker_counters::mac_table_full>},
    family{{"strait_worker_longest_gap_seconds", gauge,
            "The longest iteration since the start, sleep apart."},
           [](sheet& s, const facts& f) {
               for (const one_worker& w : f.workers) {
                   s.put(w.label, seconds(f.engine.counters(w.index).longest_gap.read()));
               }
           }},

    family{{"strait_flow_cache_entries", gauge, "Entries in the worker's flow cache."},
           of_each_cache<&cache_counters::entries>},
    family{{"strait_flow_cache_bytes", gauge, "Memory of these entries."},
           of_each_cache<&cache_counters::bytes>},
    family{{"strait_flow_cache_hits_total", counter, "Packets that found an entry."},
           of_each_cache<&cache_counters::hits>},
    family{{"strait_flow_cache_misses_total", counter,
            "Packets that had to be classified by the flows."},
           of_each_cache<&cache_counters::misses>},
    family{{"strait_flow_cache_evictions_total", counter, "Entries that made room for others."},
           of_each_cache<&cache_counters::evictions>},

    family{
        {"strait_conntrack_connections", gauge, "Connections that are tracked."},
        [](sheet& s, const facts& f) { s.put({}, f.engine.connections().connections().size()); }},
    family{{"strait_conntrack_connection_limit", gauge, "Connections that may be tracked."},
           [](sheet& s, const facts& f) {
               s.put({}, f.engine.connections().connections().capacity());
           }},
    family{
        {"strait_conntrack_bytes", gauge, "Memory of these connections."},
        [](sheet& s, const facts& f) { s.put({}, f.engine.connections().connections().bytes()); }},
    family{{"strait_conntrack_created_total", counter, "Connections that began."},
           of_all_trackers<&tracker_counters::created>},
    family{{"strait_conntrack_ended_total", counter,
            "Connections that ended by themselves or by their timeout."},
           of_all_trackers<&tracker_counters::ended>},
    family{{"strait_conntrack_evicted_total", counter, "Connections that made room for others."},
           of_all_trackers<&tracker_counters::evicted>},
    family{{"strait_conntrack_invalid_packets_total", counter,
            "Packets that belonged to no connection and could begin none."},
           of_all_trackers<&tracker_counters::invalid>},

    family{{"strait_packet_pool_buffers", gauge, "Buffers of the packet pool."},
           [](sheet& s, const facts& f) { s.put({}, f.engine.pool()->size); }},
    family{
        {"strait_packet_pool_used_buffers", gauge, "Those in use, with those that NICs wait with."},
        [](sheet& s, const facts& f) { s.put({}, rte_mempool_in_use_count(f.engine.pool())); }},
};

// proc(5): the 22nd word of the line, behind the name in parentheses, in ticks since the boot.
double start_of_process()
{
    std::ifstream file{"/proc/self/stat"};
    const std::string line{std::istreambuf_iterator<char>{file}, {}};
    std::string_view rest{line};
    rest.remove_prefix(std::min(rest.size(), rest.rfind(')') + 2)); // npos + 2 is 1
    constexpr int words_before = 19;
    for (int i = 0; i < words_before; ++i) {
        rest.remove_prefix(std::min(rest.size(), rest.find(' ') + 1));
    }
    const auto ticks = to_number<std::uint64_t>(rest.substr(0, rest.find(' '))).value_or(0);
    const auto read = [](clockid_t which) {
        timespec now{};
        (void)::clock_gettime(which, &now);
        return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * nanoseconds;
    };
    return read(CLOCK_REALTIME) - read(CLOCK_BOOTTIME) +
           static_cast<double>(ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

} // namespace

std::span<const metric> metrics() noexcept
{
    static const auto all = [] {
        std::array<metric, families.size()> out{};
        std::copy(families.begin(), families.end(), out.begin());
        return out;
    }();
    return all;
}

metrics_source::metrics_source(const virtual_switch& sw, std::vector<unsigned> worker_cpus)
    : switch_{sw}, worker_cpus_{std::move(worker_cpus)}, started_{start_of_process()}
{}

std::string metrics_source::page() const
{
    facts f{switch_.engine(), started_};
    for (const auto& [name, p] : switch_.ports()) {
        f.ports.push_back({&p, switch_.totals(p), switch_.tree_of(p), label("port", name)});
    }
    for (std::size_t i = 0; i < switch_.engine().worker_count(); ++i) {
        f.workers.push_back(
            {worker_index{static_cast<std::uint16_t>(i)}, worker_cpus_.at(i), label("worker", i)});
    }
    for (const auto& [name, b] : switch_.bridges()) {
        f.bridges.push_back(
            {&b, b.tree ? std::optional{b.tree->view()} : std::nullopt, label("bridge", name)});
    }
    sheet s;
    for (const family& one : families) {
        s.begin(one);
        one.write(s, f);
    }
    return std::move(s).take();
}

} // namespace strait::control

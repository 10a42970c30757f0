// SPDX-License-Identifier: BSD-3-Clause
// strait-conversations: opens and closes connections through a switch, whole ones, as many as it
// lets through: clients at one vhost-user port, servers at another, both in one poll loop on one
// CPU. Each end knows what to answer by the packet that it is sent alone, so that the switch's
// connection tracking is the only one here that has a table.

#include "bench/generator/checksum.hh"
#include "bench/generator/cpu.hh"
#include "bench/guest/front_end.hh"
#include "dataplane/parse.hh"

#include <boost/program_options.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>

#include <sched.h>

namespace strait::bench {

namespace {

using clock = std::chrono::steady_clock;
using dataplane::be16;
using dataplane::be32;
using dataplane::load;
using dataplane::store;
using std::chrono::duration;

constexpr std::size_t header_size = sizeof(vhost::net_header);
constexpr std::size_t frame_bytes = 60;
constexpr std::uint16_t ring_size = 1024;
// A packet is answered by two at most.
constexpr unsigned most_open = ring_size / 2;

struct options {
    std::string clients;
    std::string servers;
    bool tcp = true;
    bool hold = false;
    std::uint32_t connections = 0;
    unsigned open = 0;
    double warm_up = 0;
    double seconds = 0;
    double ready_timeout = 0;
    int cpu = 0;
    bool no_huge = false;
};

// Offsets in a frame: Ethernet, IPv4 without options, TCP or UDP.
namespace offset {
constexpr std::size_t ip = 14;
constexpr std::size_t addresses = ip + 12;
constexpr std::size_t ports = ip + 20;
constexpr std::size_t sequence = ports + 4;
constexpr std::size_t acknowledged = ports + 8;
constexpr std::size_t flags = ports + 13;
constexpr std::size_t tcp_checksum = ports + 16;
} // namespace offset

namespace flag {
constexpr std::uint8_t fin = 0x01;
constexpr std::uint8_t syn = 0x02;
constexpr std::uint8_t ack = 0x10;
} // namespace flag

constexpr std::uint32_t clients_first = 0x0a0a'0000;
constexpr std::uint32_t server_address = 0x0a0b'0001;
constexpr std::uint16_t server_port = 80;
constexpr std::uint32_t ports_of_a_client = 1U << 15;
constexpr std::uint16_t first_port = 1024;
constexpr std::uint32_t first_sequence = 1000;

struct ends {
    std::uint32_t source;
    std::uint32_t destination;
    std::uint16_t source_port;
    std::uint16_t destination_port;

    [[nodiscard]] ends turned() const noexcept
    {
        return {destination, source, destination_port, source_port};
    }
};

ends connection(std::uint32_t number) noexcept
{
    return {clients_first + number / ports_of_a_client, server_address,
            static_cast<std::uint16_t>(first_port + number % ports_of_a_client), server_port};
}

std::uint16_t checksum(const std::byte* from, std::size_t bytes, std::uint64_t sum) noexcept
{
    return static_cast<std::uint16_t>(~internet_sum({from, bytes}, sum));
}

// One end: a device whose transmit buffers hold frames of which all but ends and TCP's numbers is
// written once.
class end {
public:
    end(const std::string& path, const options& o, std::uint8_t number)
        : device_{{.path = path,
                   .huge_pages = !o.no_huge,
                   .queue_size = ring_size,
                   .transmit_buffer = frame_bytes + header_size,
                   .receive_buffer = 256}},
          tcp_{o.tcp},
          number_{number}
    {}

    void attach(std::chrono::milliseconds patience)
    {
        device_.attach(patience);
        for (std::uint16_t i = 0; i < ring_size; ++i) {
            const auto buffer = device_.transmit().buffer(i);
            std::ranges::fill(buffer, std::byte{0});
            build(buffer.data() + header_size);
        }
    }
    void expect_connected() const { device_.expect_connected(); }

    // Room for so many frames more before send_off().
    [[nodiscard]] unsigned room() noexcept
    {
        if (device_.transmit().idle() < ring_size / 2) {
            device_.transmit().reclaim();
        }
        return device_.transmit().idle() - waiting_;
    }
    void tcp(const ends& e, std::uint8_t flags, std::uint32_t sequence,
             std::uint32_t acknowledged) noexcept
    {
        std::byte* const frame = next(e);
        store(frame + offset::sequence, be32{sequence});
        store(frame + offset::acknowledged, be32{acknowledged});
        frame[offset::flags] = std::byte{flags};
        store(frame + offset::tcp_checksum, be16{0});
        constexpr std::uint64_t protocol_and_length = 6 + 20;
        store(frame + offset::tcp_checksum,
              be16{checksum(frame + offset::addresses, 8 + 20, protocol_and_length)});
    }
    void udp(const ends& e) noexcept { (void)next(e); }
    void send_off() noexcept
    {
        if (waiting_ > 0 && device_.transmit().offer(waiting_)) {
            device_.kick_transmit();
        }
        waiting_ = 0;
    }
    // Calls `take` with each frame that came, at most a burst, and returns how many there were.
    template <typename F>
    std::size_t receive(F take) noexcept
    {
        std::array<virtqueue::completion, 64> filled;
        virtqueue& queue = device_.receive();
        const std::size_t count = queue.take(filled);
        for (const auto& one : std::span{filled}.first(count)) {
            if (one.length >= header_size + frame_bytes) {
                take(queue.buffer(one.buffer).data() + header_size);
            }
        }
        if (count > 0 && queue.offer(static_cast<std::uint16_t>(count))) {
            device_.kick_receive();
        }
        return count;
    }

private:
    void build(std::byte* frame) const noexcept
    {
        frame[0] = frame[6] = std::byte{2};
        frame[5] = std::byte(1 - number_);
        frame[11] = std::byte{number_};
        store(frame + 12, be16{0x0800});
        std::byte* const ip = frame + offset::ip;
        constexpr std::uint16_t without_ethernet = frame_bytes - offset::ip;
        store(ip, be16{0x4500});
        store(ip + 2, be16{tcp_ ? std::uint16_t{40} : without_ethernet});
        store(ip + 6, be16{0x4000});
        ip[8] = std::byte{64};
        ip[9] = std::byte{tcp_ ? std::uint8_t{6} : std::uint8_t{17}};
        if (tcp_) {
            store(frame + offset::ports + 12, be16{0x5000});
            store(frame + offset::ports + 14, be16{0xffff}); // window
        } else {
            store(frame + offset::ports + 4,
                  be16{static_cast<std::uint16_t>(without_ethernet - 20)});
        }
    }
    std::byte* next(const ends& e) noexcept
    {
        const std::uint16_t buffer = device_.transmit().upcoming(waiting_++);
        std::byte* const frame = device_.transmit().buffer(buffer).data() + header_size;
        store(frame + offset::addresses, be32{e.source});
        store(frame + offset::addresses + 4, be32{e.destination});
        store(frame + offset::ports, be16{e.source_port});
        store(frame + offset::ports + 2, be16{e.destination_port});
        std::byte* const ip = frame + offset::ip;
        store(ip + 10, be16{0});
        store(ip + 10, be16{checksum(ip, 20, 0)});
        return frame;
    }

    front_end device_;
    bool tcp_;
    std::uint8_t number_;
    std::uint16_t waiting_{0};
};

ends ends_of(const std::byte* frame) noexcept
{
    return {load<be32>(frame + offset::addresses), load<be32>(frame + offset::addresses + 4),
            load<be16>(frame + offset::ports), load<be16>(frame + offset::ports + 2)};
}

class run {
public:
    explicit run(const options& o) : o_{o}, clients_{o.clients, o, 0}, servers_{o.servers, o, 1} {}

    void measure()
    {
        const auto patience = std::chrono::duration_cast<std::chrono::milliseconds>(
            duration<double>(o_.ready_timeout));
        clients_.attach(patience);
        servers_.attach(patience);
        wait_until_ready();
        if (o_.hold) {
            hold();
            return;
        }
        for_seconds(o_.warm_up);
        const std::uint64_t before = done_;
        const double took = for_seconds(o_.seconds);
        const std::uint64_t done = done_ - before;
        for_seconds(0.1, false); // what is open comes to its end
        std::printf("{\"event\":\"result\",\"seconds\":%.6f,\"connections\":%" PRIu64
                    ",\"lost\":%" PRIu64 ",\"per_second\":%.0f,\"in_all\":%" PRIu64 "}\n",
                    took, done, lost_, static_cast<double>(done) / took, done_);
        std::fflush(stdout);
        std::getchar(); // the switch is asked while its guests are there
    }

private:
    // Until a first connection has come through: rings take a moment to be served.
    void wait_until_ready()
    {
        const auto end = clock::now() + duration<double>(o_.ready_timeout);
        while (done_ == 0) {
            if (clock::now() >= end) {
                throw std::runtime_error{"no connection came through the switch in time"};
            }
            open_ = 0;
            turn(1);
            const auto next = clock::now() + std::chrono::milliseconds{20};
            while (done_ == 0 && clock::now() < next) {
                turn(0);
            }
            clients_.expect_connected();
            servers_.expect_connected();
        }
        open_ = 0;
        std::puts("{\"event\":\"ready\"}");
        std::fflush(stdout);
    }
    double for_seconds(double seconds, bool begins = true)
    {
        const auto start = clock::now();
        const auto end = start + duration<double>(seconds);
        auto now = start;
        for (unsigned round = 0; now < end; ++round) {
            turn(begins ? o_.open - std::min(open_, o_.open) : 0);
            if (round % 64 == 0) {
                now = clock::now();
                forget_lost(now);
            }
        }
        clients_.expect_connected();
        return duration<double>(now - start).count();
    }
    // Each connection once, and none is closed.
    void hold()
    {
        const auto start = clock::now();
        next_ = 0;
        done_ = lost_ = 0;
        std::uint32_t left = o_.connections;
        for (unsigned round = 0; left > 0 || open_ > 0; ++round) {
            const unsigned more = std::min(left, o_.open - std::min(open_, o_.open));
            left -= turn(more);
            if (round % 64 == 0) {
                forget_lost(clock::now());
            }
        }
        std::printf("{\"event\":\"held\",\"seconds\":%.6f,\"connections\":%" PRIu64
                    ",\"lost\":%" PRIu64 "}\n",
                    duration<double>(clock::now() - start).count(), done_, lost_);
        std::fflush(stdout);
        std::getchar(); // held until its reader is done
    }
    // What is not answered for long will not be.
    void forget_lost(clock::time_point now) noexcept
    {
        if (done_ != done_then_ || open_ == 0) {
            done_then_ = done_;
            then_ = now;
        } else if (now - then_ > std::chrono::milliseconds{100}) {
            lost_ += open_;
            open_ = 0;
            then_ = now;
        }
    }
    // How many were begun, at most so many.
    unsigned turn(unsigned more) noexcept
    {
        servers_.receive([this](const std::byte* frame) { serve(frame); });
        servers_.send_off();
        clients_.receive([this](const std::byte* frame) { go_on(frame); });
        more = std::min({more, clients_.room() / 2, 32U});
        begin(more);
        clients_.send_off();
        return more;
    }
    void begin(unsigned count) noexcept
    {
        for (unsigned i = 0; i < count; ++i) {
            const ends e = connection(next_);
            next_ = next_ + 1 == o_.connections ? 0 : next_ + 1;
            if (o_.tcp) {
                clients_.tcp(e, flag::syn, first_sequence, 0);
            } else {
                clients_.udp(e);
            }
        }
        open_ += count;
    }
    void serve(const std::byte* frame) noexcept
    {
        const ends e = ends_of(frame).turned();
        if (e.source_port != server_port || servers_.room() == 0) {
            return;
        }
        if (!o_.tcp) {
            servers_.udp(e);
            return;
        }
        const auto flags = static_cast<std::uint8_t>(frame[offset::flags]);
        const auto sequence = load<be32>(frame + offset::sequence);
        if ((flags & flag::syn) != 0) {
            servers_.tcp(e, flag::syn | flag::ack, first_sequence, sequence + 1);
        } else if ((flags & flag::fin) != 0) {
            servers_.tcp(e, flag::fin | flag::ack, load<be32>(frame + offset::acknowledged),
                         sequence + 1);
        }
    }
    void go_on(const std::byte* frame) noexcept
    {
        const ends e = ends_of(frame).turned();
        if (e.destination_port != server_port || clients_.room() < 2) {
            return;
        }
        if (!o_.tcp) {
            finish();
            return;
        }
        const auto flags = static_cast<std::uint8_t>(frame[offset::flags]);
        const auto sequence = load<be32>(frame + offset::sequence);
        const auto acknowledged = load<be32>(frame + offset::acknowledged);
        clients_.tcp(e, flag::ack, acknowledged, sequence + 1);
        if ((flags & flag::syn) != 0 && !o_.hold) {
            clients_.tcp(e, flag::fin | flag::ack, acknowledged, sequence + 1);
            return;
        }
        finish();
    }
    void finish() noexcept
    {
        ++done_;
        open_ -= open_ > 0 ? 1 : 0;
    }

    const options& o_;
    end clients_;
    end servers_;
    std::uint32_t next_{0};
    unsigned open_{0};
    std::uint64_t done_{0};
    std::uint64_t lost_{0};
    std::uint64_t done_then_{0};
    clock::time_point then_{clock::now()};
};

namespace po = boost::program_options;

po::options_description described(options& o, std::string& protocol)
{
    po::options_description all{"strait-conversations --clients PATH --servers PATH [options]"};
    all.add_options()("help", "this");
    all.add_options()("clients", po::value(&o.clients), "the switch's vhost-user socket of them");
    all.add_options()("servers", po::value(&o.servers), "the same of the servers");
    all.add_options()("protocol", po::value(&protocol)->default_value("tcp"),
                      "tcp: handshake and FINs, six packets; udp: a packet and its answer");
    all.add_options()("connections", po::value(&o.connections)->default_value(1'000'000),
                      "5-tuples, used in turn: 1 to 16777216");
    all.add_options()("open", po::value(&o.open)->default_value(256), "at once: 1 to 512");
    all.add_options()("hold", po::bool_switch(&o.hold),
                      "open each once, close none, print how many answered, wait for a line");
    all.add_options()("warm-up", po::value(&o.warm_up)->default_value(1), "seconds");
    all.add_options()("seconds", po::value(&o.seconds)->default_value(3), "counted");
    all.add_options()("ready-timeout", po::value(&o.ready_timeout)->default_value(15), "seconds");
    all.add_options()("cpu", po::value(&o.cpu)->default_value(0), "of both ends");
    all.add_options()("no-huge", po::bool_switch(&o.no_huge), "memory without huge pages");
    return all;
}

// Empty: all is well.
std::string fault_of(const options& o, const std::string& protocol)
{
    constexpr std::uint32_t most = 1U << 24;
    if (o.clients.empty() || o.servers.empty() || o.clients == o.servers) {
        return "--clients and --servers are needed: two vhost-user sockets of the switch";
    }
    if (protocol != "tcp" && protocol != "udp") {
        return "--protocol cannot be \"" + protocol + "\"; right would be tcp or udp";
    }
    if (o.connections < 1 || o.connections > most) {
        return "--connections is 1 to 16777216";
    }
    if (o.open < 1 || o.open > most_open || o.open > o.connections) {
        return "--open is 1 to 512, and no more than there are connections";
    }
    if (!(o.warm_up >= 0) || !(o.seconds > 0) || !(o.ready_timeout > 0)) {
        return "seconds are more than 0";
    }
    return o.cpu < 0 || o.cpu >= CPU_SETSIZE ? "--cpu is 0 to 1023" : "";
}

} // namespace

} // namespace strait::bench

int main(int argc, char** argv)
{
    using namespace strait::bench;
    options o;
    std::string protocol;
    try {
        const auto all = described(o, protocol);
        po::variables_map given;
        po::store(po::parse_command_line(argc, argv, all), given);
        po::notify(given);
        if (given.contains("help")) {
            std::fputs((std::ostringstream{} << all).str().c_str(), stdout);
            return 0;
        }
        if (const std::string fault = fault_of(o, protocol); !fault.empty()) {
            std::fprintf(stderr, "strait-conversations: %s\n", fault.c_str());
            return 2;
        }
        o.tcp = protocol == "tcp";
    } catch (const po::error& error) {
        std::fprintf(stderr, "strait-conversations: %s; --help lists the options\n", error.what());
        return 2;
    }
    try {
        stay_on(static_cast<unsigned>(o.cpu));
        run traffic{o};
        traffic.measure();
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "strait-conversations: %s\n", error.what());
        return 1;
    }
}

// SPDX-License-Identifier: BSD-3-Clause
// strait-xen-guest: a simulated Xen guest with one network device, as a process of its own.
#include "ports/xen-netback/simulated/guest_traffic.hh"

#include "ports/number.hh"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <vector>

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace {

using namespace strait::xen;
using namespace strait::xen::simulated;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr const char* help =
    "Usage: strait-xen-guest --socket PATH --domain N [OPTION]...\n"
    "\n"
    "A guest of the simulated hypervisor that listens on PATH (strait-xen-simulator), with one\n"
    "network device as Linux's driver works it. The tool stack (strait-xen-tools) makes the "
    "domain\n"
    "and the device; the guest waits for both, and comes back when the device does.\n"
    "\n"
    "  --handle N             the device (0)\n"
    "  --mode MODE            tap: the kernel's network stack, through a tap interface; echo (the\n"
    "                         default): frames go back to where they came from; send; receive\n"
    "  --tap NAME             the interface, made in this process's network namespace\n"
    "  --to MAC               whom to send to\n"
    "  --count N              frames to send or to receive, then to end; 0 (the default): no end\n"
    "  --size BYTES           of a frame to send: 60 (the default) to 65535\n"
    "  --slots N              to spread a frame over: 1 (the default) to 18\n"
    "  --rate N               frames to send a second; 0 (the default): as many as go\n"
    "  --seconds N            to end after; 0 (the default): never\n"
    "  --queues N             wanted: 1 (the default) to 16\n"
    "  --headroom BYTES       in front of what is received, as for XDP\n"
    "  --single-channel       one event channel for both rings\n"
    "  --no-sg, --no-gso, --no-csum, --no-csum6   what the driver cannot receive\n"
    "  --multicast-control, --control-ring        what it can beyond that\n"
    "\n"
    "Prints a line of JSON when the link goes up or down, and one in the end. SIGTERM and SIGINT\n"
    "close the device and end it; SIGUSR1 unbinds the driver and binds it again. Status: 0 done,\n"
    "1 something was wrong with what came or with the back end, 2 could not begin, 3 the domain\n"
    "was ended.\n";

constexpr int status_wrong = 1;
constexpr int status_cannot = 2;
constexpr int status_destroyed = 3;
constexpr milliseconds patience{10'000};

struct choices {
    std::string socket;
    std::optional<domain_id> domain;
    std::uint64_t seconds{0};
    netfront_options device;
    traffic_settings what;
    bool help{false};
};

struct wrong {
    std::string message;
};

std::uint64_t number(const std::string& option, const std::string& word, std::uint64_t least,
                     std::uint64_t most)
{
    const auto n = strait::to_number<std::uint64_t>(word);
    if (!n || *n < least || *n > most) {
        throw wrong{option + " takes a number from " + std::to_string(least) + " to " +
                    std::to_string(most) + ", not \"" + word + "\""};
    }
    return *n;
}

choices parse(const std::vector<std::string>& words)
{
    choices c;
    constexpr std::uint64_t any = std::uint64_t{1} << 62U;
    const auto set = [](auto& to, std::uint64_t n) {
        to = static_cast<std::remove_reference_t<decltype(to)>>(n);
    };
    using value = std::function<void(const std::string& option, const std::string& word)>;
    const std::map<std::string, value> values{
        {"--socket", [&](const auto&, const auto& w) { c.socket = w; }},
        {"--domain",
         [&](const auto& o, const auto& w) {
             c.domain = domain_id{static_cast<std::uint16_t>(number(o, w, 1, 0x7fef))};
         }},
        {"--handle",
         [&](const auto& o, const auto& w) { set(c.device.handle, number(o, w, 0, 1U << 31U)); }},
        {"--mode", [&](const auto&, const auto& w) { c.what.mode = w; }},
        {"--tap", [&](const auto&, const auto& w) { c.what.interface = w; }},
        {"--to",
         [&](const auto& o, const auto& w) {
             const auto mac = parse_mac(w);
             if (!mac) {
                 throw wrong{o + " takes a MAC address, not \"" + w + "\""};
             }
             c.what.to = *mac;
         }},
        {"--count", [&](const auto& o, const auto& w) { set(c.what.count, number(o, w, 0, any)); }},
        {"--size",
         [&](const auto& o, const auto& w) { set(c.what.size, number(o, w, 60, 65535)); }},
        {"--slots", [&](const auto& o,
                        const auto& w) { set(c.what.slots, number(o, w, 1, netif::max_slots)); }},
        {"--rate", [&](const auto& o, const auto& w) { set(c.what.rate, number(o, w, 0, any)); }},
        {"--seconds",
         [&](const auto& o, const auto& w) { set(c.seconds, number(o, w, 0, 1U << 30U)); }},
        {"--queues",
         [&](const auto& o, const auto& w) { set(c.device.queues, number(o, w, 1, 16)); }},
        {"--headroom",
         [&](const auto& o, const auto& w) { set(c.device.headroom, number(o, w, 0, 32767)); }},
    };
    const std::map<std::string, std::function<void()>> flags{
        {"--help", [&] { c.help = true; }},
        {"--single-channel", [&] { c.device.split_channels = false; }},
        {"--no-sg", [&] { c.device.scatter_gather = false; }},
        {"--no-gso", [&] { c.device.gso_tcp_v4 = c.device.gso_tcp_v6 = false; }},
        {"--no-csum", [&] { c.device.checksum = false; }},
        {"--no-csum6", [&] { c.device.checksum_ipv6 = false; }},
        {"--multicast-control", [&] { c.device.multicast_control = true; }},
        {"--control-ring", [&] { c.device.control_ring = true; }},
    };
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        if (const auto flag = flags.find(word); flag != flags.end()) {
            flag->second();
        } else if (const auto v = values.find(word); v == values.end()) {
            throw wrong{"there is no option " + word + "; see --help"};
        } else if (i + 1 == words.size()) {
            throw wrong{word + " takes a value; see --help"};
        } else {
            v->second(word, words[++i]);
        }
    }
    if (!c.help && (c.socket.empty() || !c.domain)) {
        throw wrong{"--socket and --domain are needed; see --help"};
    }
    return c;
}

int refuse(const std::string& why)
{
    (void)std::fprintf(stderr, "strait-xen-guest: %s\n", why.c_str());
    return status_cannot;
}

void print(const boost::json::object& line)
{
    (void)std::printf("%s\n", boost::json::serialize(line).c_str());
    (void)std::fflush(stdout);
}

class program {
public:
    program(simulated_guest& g, const choices& c, int signals)
        : guest_{g}, choices_{c}, signals_{signals}, device_{g, c.device}
    {}

    int run()
    {
        const auto begin = steady_clock::now();
        while (!ending_) {
            if (!guest_.alive()) {
                return end("destroyed", begin, status_destroyed);
            }
            if (choices_.seconds != 0 &&
                steady_clock::now() - begin >= std::chrono::seconds{choices_.seconds}) {
                break;
            }
            if (auto done = look_at_device(); done.has_error()) {
                return refuse(done.error().message);
            }
            const bool busy = up_ && work();
            if (traffic_ && traffic_->done()) {
                break;
            }
            if (!device_.violation().empty()) {
                return end("the back end: " + device_.violation(), begin, status_wrong);
            }
            if (!busy) {
                sleep();
            }
        }
        const bool good = !traffic_ || traffic_->good();
        const auto closed = device_.stop(patience);
        return end(closed.has_error() ? closed.error().message : "done", begin,
                   good && closed.has_value() ? 0 : status_wrong);
    }

private:
    // Follows the back end; a device that was gone and is there again is started.
    result<void> look_at_device()
    {
        bool events = std::exchange(look_again_, false);
        while (guest_.store().next_event()) {
            events = true;
        }
        if (!events && up_) {
            return {};
        }
        if (auto followed = device_.follow(); followed.has_error()) {
            return followed;
        }
        show_link();
        if (device_.state() == xenbus_state::absent || device_.state() == xenbus_state::closed) {
            // State 1 in the guest's folder is the tool stack's: the device is a new one.
            const auto state = guest_.store().read(device_.folder() + "/state");
            if (state.has_value() && *state && **state == "1") {
                if (auto let_go = device_.stop(patience); let_go.has_error()) {
                    return let_go;
                }
                if (auto started = device_.start(); started.has_error()) {
                    return started;
                }
            }
        }
        if (!traffic_ && device_.state() != xenbus_state::absent) {
            auto made = make_traffic(choices_.what, device_.mac());
            if (made.has_error()) {
                return made.error();
            }
            traffic_ = std::move(*made);
        }
        show_link();
        return {};
    }

    void show_link()
    {
        const bool up = traffic_ && device_.carrier();
        if (up == up_) {
            return;
        }
        up_ = up;
        traffic_->link(device_, up);
        print({{"event", up ? "connected" : "disconnected"}, {"queues", device_.queues().size()}});
    }

    bool work()
    {
        constexpr std::size_t budget = 64;
        bool any = false;
        for (std::size_t i = 0; i < device_.queues().size(); ++i) {
            netfront_queue& q = device_.queue(i);
            any = q.tx().ready() != 0 || any;
            q.reap();
            any = q.receive(budget,
                            [&](const received_frame& f) { traffic_->take(device_, i, f); }) > 0 ||
                  any;
        }
        any = traffic_->send(device_) || any;
        for (const auto& q : device_.queues()) {
            q->publish_sent();
        }
        return any;
    }

    void sleep()
    {
        std::vector<pollfd> all{
            {.fd = signals_, .events = POLLIN, .revents = 0},
            {.fd = guest_.store().descriptor(), .events = POLLIN, .revents = 0}};
        if (up_) {
            for (const auto& q : device_.queues()) {
                if (!q->may_sleep()) {
                    return;
                }
                for (const int fd : q->descriptors()) {
                    all.push_back({.fd = fd, .events = POLLIN, .revents = 0});
                }
            }
            all.push_back({.fd = traffic_->descriptor(), .events = POLLIN, .revents = 0});
        }
        // Not for ever: what the tool stack does to a device that is not there is nobody's event.
        constexpr timespec longest{.tv_sec = 0, .tv_nsec = 100'000'000};
        timespec time = longest;
        if (up_ && traffic_->due() >= 0) {
            time.tv_nsec = 1000L * traffic_->due();
        }
        (void)::ppoll(all.data(), all.size(), &time, nullptr);
        if (up_) {
            for (const auto& q : device_.queues()) {
                q->take_events();
            }
        }
        hear_signals();
    }

    void hear_signals()
    {
        signalfd_siginfo info{};
        while (::read(signals_, &info, sizeof info) == sizeof info) {
            if (info.ssi_signo != SIGUSR1) {
                ending_ = true;
            } else if (device_.stop(patience).has_value()) {
                show_link();
                (void)device_.start();
                look_again_ = true;
            }
        }
    }

    int end(const std::string& reason, steady_clock::time_point begin, int status) const
    {
        const netfront_counts n = device_.counts();
        const std::chrono::duration<double> passed = steady_clock::now() - begin;
        boost::json::object line{{"event", "end"},
                                 {"reason", reason},
                                 {"seconds", passed.count()},
                                 {"tx_frames", n.tx_frames},
                                 {"tx_bytes", n.tx_bytes},
                                 {"tx_slots", n.tx_slots},
                                 {"tx_okay", n.tx_okay},
                                 {"tx_error", n.tx_error},
                                 {"tx_dropped", n.tx_dropped},
                                 {"rx_frames", n.rx_frames},
                                 {"rx_bytes", n.rx_bytes},
                                 {"rx_slots", n.rx_slots},
                                 {"rx_errors", n.rx_errors},
                                 {"notifications", n.notifications}};
        if (traffic_) {
            traffic_->report(line);
        }
        print(line);
        return status;
    }

    simulated_guest& guest_;
    const choices& choices_;
    const int signals_;
    netfront device_;
    std::unique_ptr<traffic> traffic_;
    bool up_{false};
    bool ending_{false};
    bool look_again_{false};
};

int run(const std::vector<std::string>& words)
{
    choices c;
    try {
        c = parse(words);
    } catch (const wrong& w) {
        return refuse(w.message);
    }
    if (c.help) {
        return std::fputs(help, stdout) < 0 ? status_cannot : 0;
    }
    sigset_t handled;
    ::sigemptyset(&handled);
    for (const int s : {SIGTERM, SIGINT, SIGUSR1}) {
        ::sigaddset(&handled, s);
    }
    ::sigprocmask(SIG_BLOCK, &handled, nullptr);
    const file_descriptor signals{::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK)};
    if (!signals) {
        return refuse(std::string{"no signalfd can be had: "} + std::strerror(errno));
    }
    const std::uint32_t pages_a_queue = 2 * netif::ring_size + 2;
    auto guest = simulated_guest::connect(c.socket, *c.domain,
                                          {.pages = c.device.queues * pages_a_queue + 256});
    if (guest.has_error()) {
        return refuse(guest.error().message);
    }
    return program{**guest, c, signals.get()}.run();
}

} // namespace

int main(int argc, char** argv)
{
    try {
        return run(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
    } catch (const std::exception& e) {
        return refuse(e.what());
    }
}

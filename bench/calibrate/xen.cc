// SPDX-License-Identifier: BSD-3-Clause
// Grant copies and event channels of the Xen domain that this runs in, which is the other domain as
// well. The worker's calls are those of Strait's ports (ports/xen-netback/libxen.cc).
#include "bench/calibrate/calibrate.hh"
#include "bench/generator/cpu.hh"
#include "dataplane/file_descriptor.hh"
#include "ports/xen-netback/libxen.hh"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <memory>
#include <span>
#include <sstream>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
}

namespace strait::bench {

namespace {

using dataplane::remote_copy;
using dataplane::remote_span;

constexpr std::array<unsigned, 7> batches{1, 2, 4, 8, 16, 32, 64};
constexpr std::array<std::uint16_t, 4> lengths{64, 256, 1024, 4096};
constexpr unsigned most = batches.back();
constexpr unsigned copies_a_round = 51;
constexpr unsigned events_a_round = 200;
constexpr std::chrono::microseconds pause_between{50};
constexpr std::chrono::microseconds until_asleep{1000};

template <auto Close>
struct closer {
    template <typename T>
    void operator()(T* handle) const noexcept
    {
        Close(handle);
    }
};
template <typename T, auto Close>
using handle = std::unique_ptr<T, closer<Close>>;

[[noreturn]] void fail(const std::string& what)
{
    throw std::runtime_error{what + ": " + std::strerror(errno)};
}

// Pages that this domain has granted to itself, and memory of this process: a page for each
// segment.
class pages {
public:
    explicit pages(xen::domain_id own)
    {
        if (!shares_) {
            fail("/dev/xen/gntalloc cannot be opened");
        }
        const auto id = static_cast<std::uint16_t>(own);
        granted_ = static_cast<std::byte*>(
            xengntshr_share_pages(shares_.get(), id, 2 * most, references_.data(), 1));
        if (granted_ == nullptr) {
            fail("pages cannot be granted to the own domain");
        }
        for (std::size_t i = 0; i < most * xen::page_size; ++i) {
            granted_[i] = static_cast<std::byte>(i * 7 + i / 4093);
        }
        for (unsigned i = 0; i < 2 * most; ++i) {
            spans_.at(i) = {.reference = references_.at(i), .offset = 0, .owner = id, .size = 0};
        }
    }
    pages(const pages&) = delete;
    pages& operator=(const pages&) = delete;
    ~pages()
    {
        if (granted_ != nullptr) {
            (void)xengntshr_unshare(shares_.get(), granted_, 2 * most);
        }
    }
    // From a granted page to this process, as Strait copies a frame's head, or to another one.
    [[nodiscard]] remote_copy segment(unsigned i, std::uint16_t length, bool both)
    {
        const remote_span from = spans_.at(i).part(0, length);
        return both ? remote_copy::across(from, spans_.at(most + i).part(0, length))
                    : remote_copy::pull(from, own_ + i * xen::page_size);
    }
    // What an earlier copy left there would pass for this one's.
    void clear(unsigned i, std::uint16_t length, bool both) noexcept
    {
        std::byte* const to = target(i, both);
        for (std::size_t at = 0; at < length; ++at) {
            to[at] = ~granted_[i * xen::page_size + at];
        }
    }
    [[nodiscard]] bool arrived(unsigned i, std::uint16_t length, bool both) noexcept
    {
        return std::memcmp(target(i, both), granted_ + i * xen::page_size, length) == 0;
    }

private:
    [[nodiscard]] std::byte* target(unsigned i, bool both) noexcept
    {
        return both ? granted_ + (most + i) * xen::page_size : own_ + i * xen::page_size;
    }

    handle<xengntshr_handle, xengntshr_close> shares_{xengntshr_open(nullptr, 0)};
    std::array<std::uint32_t, 2 * most> references_{};
    std::array<remote_span, 2 * most> spans_{};
    std::byte* granted_{nullptr};
    alignas(xen::page_size) std::byte own_[most * xen::page_size]{};
};

double copy_cycles(xen::hypervisor& h, pages& p, unsigned count, std::uint16_t length, bool both)
{
    std::array<remote_copy, most> segments;
    std::vector<std::uint64_t> took;
    for (unsigned shot = 0; shot < copies_a_round; ++shot) {
        for (unsigned i = 0; i < count; ++i) {
            segments.at(i) = p.segment(i, length, both);
            p.clear(i, length, both);
        }
        const std::uint64_t begin = now();
        h.copy(std::span{segments}.first(count));
        took.push_back(now() - begin);
        for (unsigned i = 0; i < count; ++i) {
            if (!segments.at(i).done()) {
                throw std::runtime_error{"a grant copy within the own domain failed with status " +
                                         std::to_string(static_cast<int>(segments.at(i).result()))};
            }
            if (!p.arrived(i, length, both)) {
                throw std::runtime_error{"a grant copy within the own domain is done, as Xen says, "
                                         "but what was copied is not there"};
            }
        }
    }
    return median(took);
}

// The system call, without a segment: no hypercall is made.
double call_cycles(xengnttab_handle* grants)
{
    std::vector<std::uint64_t> took;
    xengnttab_grant_copy_segment_t none{};
    for (unsigned shot = 0; shot < copies_a_round; ++shot) {
        const std::uint64_t begin = now();
        const int done = xengnttab_grant_copy(grants, 0, &none);
        took.push_back(now() - begin);
        if (done != 0) {
            fail("a grant copy of no segments is refused");
        }
    }
    return median(took);
}

boost::json::array measure_copies(xen::hypervisor& h, boost::json::object& cycles, unsigned rounds)
{
    const auto p = std::make_unique<pages>(h.own_domain());
    const handle<xengnttab_handle, xengnttab_close> grants{xengnttab_open(nullptr, 0)};
    if (!grants) {
        fail("/dev/xen/gntdev cannot be opened");
    }
    boost::json::array points;
    for (unsigned round = 0; round < rounds; ++round) {
        add_round(cycles, "call", call_cycles(grants.get()));
        std::size_t at = 0;
        for (const bool both : {false, true}) {
            for (const unsigned count : batches) {
                for (const std::uint16_t length : lengths) {
                    if (round == 0) {
                        points.emplace_back(boost::json::object{
                            {"both", both}, {"segments", count}, {"length", length}});
                    }
                    add_round(points[at++].as_object(), "cycles",
                              copy_cycles(h, *p, count, length, both));
                }
            }
        }
    }
    return points;
}

// The end of a channel that is notified, and the thread there.
class other_end {
public:
    other_end(xen::domain_id own, unsigned cpu) : cpu_{cpu}
    {
        if (!handle_) {
            fail("/dev/xen/evtchn cannot be opened");
        }
        port_ = xenevtchn_bind_unbound_port(handle_.get(), static_cast<std::uint16_t>(own));
        const int fd = xenevtchn_fd(handle_.get());
        if (port_ < 0 || ::fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) != 0) {
            fail("an event channel to the own domain cannot be offered");
        }
    }
    other_end(const other_end&) = delete;
    other_end& operator=(const other_end&) = delete;
    ~other_end() { stop(); }

    [[nodiscard]] xen::event_port port() const noexcept
    {
        return xen::event_port{static_cast<std::uint32_t>(port_)};
    }
    void start(bool sleeps)
    {
        stopping_ = false;
        thread_ = std::thread{[this, sleeps] { run(sleeps); }};
    }
    void stop()
    {
        stopping_ = true;
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    // Events that it has seen, and those after which it can be notified again.
    [[nodiscard]] std::uint32_t seen() const noexcept { return seen_.load(); }
    [[nodiscard]] std::uint32_t ready() const noexcept { return ready_.load(); }

private:
    void run(bool sleeps) noexcept
    {
        try {
            stay_on(cpu_);
        } catch (const std::exception&) {
            return; // then it is not on that CPU, and the worker waits in vain
        }
        pollfd fd{.fd = xenevtchn_fd(handle_.get()), .events = POLLIN, .revents = 0};
        while (!stopping_) {
            if (sleeps) {
                (void)::poll(&fd, 1, 20);
            }
            const auto port = xenevtchn_pending(handle_.get());
            if (port >= 0) {
                ++seen_;
                (void)xenevtchn_unmask(handle_.get(), static_cast<evtchn_port_t>(port));
                ++ready_;
            }
        }
    }

    const unsigned cpu_;
    const handle<xenevtchn_handle, xenevtchn_close> handle_{xenevtchn_open(nullptr, 0)};
    int port_{-1};
    std::atomic<bool> stopping_{false};
    std::atomic<std::uint32_t> seen_{0};
    std::atomic<std::uint32_t> ready_{0};
    std::thread thread_;
};

void measure_events(xen::event_channel& channel, other_end& other, boost::json::object& cycles,
                    bool sleeps)
{
    std::vector<std::uint64_t> notified;
    std::vector<std::uint64_t> had;
    other.start(sleeps);
    for (unsigned i = 0; i < events_a_round; ++i) {
        spin_for(sleeps ? until_asleep : pause_between);
        const std::uint32_t before = other.seen();
        const std::uint64_t begin = now();
        channel.notify();
        const std::uint64_t returned = now();
        const auto late = [] { return "an event channel's notification does not arrive"; };
        spin_until([&] { return other.seen() != before; }, late);
        had.push_back(now() - begin);
        notified.push_back(returned - begin);
        spin_until([&] { return other.ready() == other.seen(); }, late);
    }
    other.stop();
    const std::string name = sleeps ? "sleeping" : "polling";
    add_round(cycles, "notify_" + name, median(notified));
    add_round(cycles, "event_" + name, median(had));
}

// What `xl info` says. It may wait for ever, for a xenstored that does not answer: it has ten
// seconds.
std::string xl_info()
{
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return {};
    }
    const dataplane::file_descriptor in{ends[0]};
    dataplane::file_descriptor out{ends[1]};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    std::string tool{"xl"};
    std::string topic{"info"};
    const std::array<char*, 3> words{tool.data(), topic.data(), nullptr};
    pid_t pid = 0;
    const int code = ::posix_spawnp(&pid, tool.c_str(), &actions, nullptr, words.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (code != 0) {
        return {};
    }
    out = dataplane::file_descriptor{};
    using clock = std::chrono::steady_clock;
    const auto end = clock::now() + std::chrono::seconds{10};
    std::string said;
    std::array<char, 4096> some{};
    pollfd fd{.fd = in.get(), .events = POLLIN, .revents = 0};
    while (said.size() < 1U << 20U) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - clock::now());
        const int ready = left.count() > 0 ? ::poll(&fd, 1, static_cast<int>(left.count())) : 0;
        if (ready < 0 && errno == EINTR) {
            continue;
        }
        const ssize_t got = ready > 0 ? ::read(in.get(), some.data(), some.size()) : 0;
        if (got <= 0) {
            break;
        }
        said.append(some.data(), static_cast<std::size_t>(got));
    }
    (void)::kill(pid, SIGKILL); // nothing more of it is wanted
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {}
    return said;
}

// The host's CPU flags, of which dom0's own say nothing: Xen's tool tells them there.
boost::json::value host_flags()
{
    std::istringstream said{xl_info()};
    for (std::string line; std::getline(said, line);) {
        const std::size_t at = line.find(": ");
        if (line.starts_with("hw_caps") && at != line.npos) {
            return boost::json::value(line.substr(at + 2));
        }
    }
    return nullptr;
}

} // namespace

boost::json::object calibrate_xen(const calibration_options& o)
{
    if (!xen::runs_on_xen()) {
        throw std::runtime_error{"there is no /dev/xen/gntdev, evtchn and xenbus: this is no Xen "
                                 "domain, or xen-gntdev and xen-evtchn are not loaded"};
    }
    const auto h = xen::open_libxen().value();
    boost::json::object cycles;
    other_end other{h->own_domain(), o.other_cpu};
    const auto channel = h->bind(h->own_domain(), other.port()).value();
    boost::json::array copies = measure_copies(*h, cycles, o.rounds);
    for (unsigned round = 0; round < o.rounds; ++round) {
        measure_events(*channel, other, cycles, false);
        measure_events(*channel, other, cycles, true);
    }
    const std::string version = "/sys/hypervisor/version/";
    boost::json::object facts{{"major", fact(version + "major")},
                              {"minor", fact(version + "minor")},
                              {"kind", fact("/sys/hypervisor/guest_type")},
                              {"host_flags", host_flags()}};
    return {
        {"facts", std::move(facts)}, {"cycles", std::move(cycles)}, {"copies", std::move(copies)}};
}

} // namespace strait::bench

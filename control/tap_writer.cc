// SPDX-License-Identifier: BSD-3-Clause
// Rings into one stream, in the order of time.
#include "control/tap_writer.hh"

#include "control/flow_packet.hh"
#include "control/pcapng.hh"
#include "control/version.hh"
#include "dataplane/flow/extract.hh"
#include "dataplane/parse.hh"
#include "ports/error.hh"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <utility>

#include <poll.h>
#include <rte_cycles.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace strait::control {

using dataplane::drop_reason;
using dataplane::tap_event;
using dataplane::tap_record;
using dataplane::tap_ring;

namespace {

constexpr std::uint64_t second = 1'000'000'000;

std::uint64_t wall_clock()
{
    timespec now{};
    (void)::clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * second +
           static_cast<std::uint64_t>(now.tv_nsec);
}

// The wall clock's time of a moment that the TSC tells, by what both are now.
class tsc_clock {
public:
    tsc_clock() : wall_{wall_clock()}, tsc_{rte_rdtsc()}, hz_{rte_get_tsc_hz()} {}
    [[nodiscard]] std::uint64_t at(std::uint64_t tsc) const
    {
        __extension__ using wide = __int128;
        const auto passed = static_cast<std::int64_t>(tsc - tsc_);
        return wall_ +
               static_cast<std::uint64_t>(static_cast<std::int64_t>(
                   static_cast<wide>(passed) * static_cast<wide>(second) / static_cast<wide>(hz_)));
    }

private:
    std::uint64_t wall_;
    std::uint64_t tsc_;
    std::uint64_t hz_;
};

std::string time_of_day(std::uint64_t time)
{
    const auto seconds = static_cast<std::time_t>(time / second);
    std::tm parts{};
    (void)::localtime_r(&seconds, &parts);
    std::array<char, 32> text{};
    (void)std::snprintf(text.data(), text.size(), "%02d:%02d:%02d.%09u", parts.tm_hour,
                        parts.tm_min, parts.tm_sec, static_cast<unsigned>(time % second));
    return text.data();
}

// What a frame's headers say, in the words of flows.
std::string words_of(const tap_record& r)
{
    const auto bytes = tap_ring::bytes_of(r);
    dataplane::packet p{};
    p.data = const_cast<std::byte*>(bytes.data()); // is only read
    p.length = r.length;
    p.head_length = static_cast<std::uint16_t>(std::min<std::size_t>(bytes.size(), 0xffff));
    flow::key k;
    flow::header_layout at;
    if (p.head_length >= dataplane::ethernet_header) {
        (void)flow::extract(p, k, at);
    }
    k.set(flow::field::packet_length, 0);
    return format_key(k);
}

std::string comment_of(const tap_record& r)
{
    const auto& text = dataplane::drop_reasons()[static_cast<std::size_t>(r.reason)];
    return "dropped, " + std::string{text.name} + ": " + std::string{text.explanation};
}

pcapng::direction way_of(const tap_record& r)
{
    const bool inbound = r.event == tap_event::received ||
                         (r.event == tap_event::dropped &&
                          dataplane::drop_reasons()[static_cast<std::size_t>(r.reason)].ingress);
    return inbound ? pcapng::direction::inbound : pcapng::direction::outbound;
}

} // namespace

std::shared_ptr<dataplane::tap_outlet> make_ring_outlet(std::size_t workers)
{
    constexpr std::size_t all = std::size_t{16} << 20; // bytes, of all of a tap's rings
    constexpr std::size_t most = std::size_t{4} << 20;
    constexpr std::size_t least = std::size_t{1} << 20;
    auto outlet = std::make_shared<dataplane::tap_outlet>(workers);
    for (std::size_t i = 0; i < workers; ++i) {
        outlet->rings.push_back(
            std::make_unique<tap_ring>(std::clamp(std::bit_floor(all / workers), least, most)));
    }
    return outlet;
}

tap_writer::tap_writer(std::shared_ptr<dataplane::tap_outlet> from, settings s,
                       std::function<void()> wants_end, std::function<void()> ended)
    : from_{std::move(from)},
      settings_{std::move(s)},
      wants_end_{std::move(wants_end)},
      ended_{std::move(ended)}
{}

tap_writer::~tap_writer()
{
    if (thread_.joinable()) {
        thread_.join();
    }
}

void tap_writer::start(dataplane::file_descriptor to)
{
    to_ = std::move(to);
    struct stat what {};
    socket_ = ::fstat(to_.get(), &what) == 0 && S_ISSOCK(what.st_mode);
    begun_ = wall_clock();
    thread_ = std::thread{[this] { run(); }};
}

void tap_writer::ports_change(const dataplane::snapshot& config)
{
    const std::lock_guard lock{mutex_};
    bool there = settings_.only_port.empty();
    for (const auto& p : config.ports) {
        if (p) {
            ports_.try_emplace(p->incarnation, port_facts{p->name, p->index});
            there = there || p->name == settings_.only_port;
        }
    }
    if (!there) {
        port_gone_.store(true, std::memory_order_relaxed);
    }
}

tap_writer::summary tap_writer::result() const
{
    const std::lock_guard lock{mutex_};
    return summary_;
}

void tap_writer::note()
{
    const std::lock_guard lock{mutex_};
    summary_.packets = packets_;
    summary_.lost = 0;
    for (const auto& w : from_->by_worker) {
        summary_.lost += w.drops.read();
    }
    summary_.why = why_;
}

void tap_writer::want_end(const std::string& why)
{
    if (!std::exchange(asked_, true)) {
        why_ = why;
        note();
        wants_end_();
    }
}

void tap_writer::run()
{
    try {
        write_all();
    } catch (const std::exception& e) { // no memory
        deaf_ = true;
        want_end(e.what());
        while (!finishing_.load(std::memory_order_acquire)) {
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
    }
    note();
    to_ = {}; // a client that sees the end can ask for the result
    ended_();
}

void tap_writer::write_all()
{
    constexpr int idle_ms = 5;
    if (settings_.format == format::pcapng) {
        pcapng::append_section(output_, "strait " + std::string{version()});
    }
    progress_ = std::chrono::steady_clock::now();
    flush();
    for (;;) {
        const bool last_time = finishing_.load(std::memory_order_acquire);
        bool looked = false; // into the rings: not while something is left to be sent
        bool something = false;
        if (!unsent()) {
            looked = true;
            something = drain();
            note();
        }
        flush();
        if (last_time && (deaf_ || (looked && !something && !unsent()))) {
            break;
        }
        if (last_time && abandoned_.load(std::memory_order_relaxed) && unsent()) {
            deaf_ = true;
        }
        if (port_gone_.load(std::memory_order_relaxed)) {
            want_end("port " + settings_.only_port + " was removed");
        }
        look_at_client(something && !unsent() ? 0 : idle_ms);
    }
    if (settings_.format == format::pcapng) {
        put_statistics();
        while (unsent() && !deaf_) {
            flush();
            if (unsent()) {
                deaf_ = deaf_ || abandoned_.load(std::memory_order_relaxed);
                look_at_client(idle_ms);
            }
        }
    }
}

// Some of what is there, the oldest first. False: there was nothing.
bool tap_writer::drain()
{
    constexpr std::size_t at_once = std::size_t{1} << 20; // bytes
    const tsc_clock clock;
    bool something = false;
    while (output_.size() < at_once) {
        tap_ring* oldest = nullptr;
        const tap_record* record = nullptr;
        for (const auto& ring : from_->rings) {
            const tap_record* const r = ring->front();
            if (r != nullptr && (record == nullptr || r->tsc < record->tsc)) {
                oldest = ring.get();
                record = r;
            }
        }
        if (record == nullptr) {
            break;
        }
        something = true;
        if (!deaf_ && (settings_.count == 0 || packets_ < settings_.count)) {
            last_ = std::max(last_, clock.at(record->tsc));
            put(*record, last_);
            if (++packets_ == settings_.count) {
                want_end({});
            }
        }
        oldest->pop();
    }
    return something;
}

tap_writer::port_facts tap_writer::facts_of(std::uint32_t incarnation) const
{
    const std::lock_guard lock{mutex_};
    const auto found = ports_.find(incarnation);
    return found == ports_.end() ? port_facts{"?", dataplane::no_port} : found->second;
}

tap_writer::interface& tap_writer::interface_of(std::uint32_t incarnation, const port_facts& facts)
{
    const auto number = static_cast<std::uint32_t>(interfaces_.size());
    const auto [at, fresh] =
        interfaces_.try_emplace(incarnation, interface{number, facts.index, 0});
    if (fresh && settings_.format == format::pcapng) {
        pcapng::append_interface(output_, facts.name, from_->snaplen);
    }
    return at->second;
}

void tap_writer::put(const tap_record& r, std::uint64_t time)
{
    const port_facts facts = facts_of(r.incarnation);
    interface& at = interface_of(r.incarnation, facts);
    ++at.packets;
    if (settings_.format == format::lines) {
        put_line(r, time, facts.name);
        return;
    }
    const std::string comment = r.event == tap_event::dropped ? comment_of(r) : std::string{};
    pcapng::append_packet(output_, {.interface = at.number,
                                    .time = time,
                                    .bytes = tap_ring::bytes_of(r),
                                    .length = r.length,
                                    .way = way_of(r),
                                    .comment = comment});
}

void tap_writer::put_line(const tap_record& r, std::uint64_t time, const std::string& name)
{
    constexpr std::array<std::string_view, 3> events = {" in  ", " out ", " drop "};
    output_ += time_of_day(time);
    output_ += events[static_cast<std::size_t>(r.event)];
    output_ += name;
    if (r.event == tap_event::dropped) {
        output_ += " (" + std::string{dataplane::to_string(r.reason)} + ")";
    }
    output_ += ": " + words_of(r) + ", " + std::to_string(r.length) + " bytes\n";
}

void tap_writer::put_statistics()
{
    const std::uint64_t now = std::max(wall_clock(), last_);
    for (const auto& [incarnation, i] : interfaces_) {
        std::uint64_t lost = 0;
        for (const auto& ring : from_->rings) {
            lost += i.index == dataplane::no_port ? 0 : ring->lost(i.index);
        }
        pcapng::append_statistics(output_, {.interface = i.number,
                                            .begin = begun_,
                                            .end = now,
                                            .received = i.packets + lost,
                                            .dropped = lost});
    }
}

// As much as goes without waiting; a file may make it wait, which costs nobody else.
void tap_writer::flush()
{
    while (unsent() && !deaf_) {
        const ssize_t n = socket_
                              ? ::send(to_.get(), output_.data() + sent_, output_.size() - sent_,
                                       MSG_DONTWAIT | MSG_NOSIGNAL)
                              : ::write(to_.get(), output_.data() + sent_, output_.size() - sent_);
        if (n > 0) {
            sent_ += static_cast<std::size_t>(n);
            progress_ = std::chrono::steady_clock::now();
        } else if (n < 0 && errno == EAGAIN) {
            return;
        } else if (n < 0 && errno != EINTR) {
            const int code = errno;
            deaf_ = true;
            want_end(code == EPIPE || code == ECONNRESET
                         ? std::string{}
                         : "what was captured cannot be written: " + ports::describe(code));
        }
    }
    if (!unsent() || deaf_) {
        output_.clear();
        sent_ = 0;
    }
}

// Waits for room, or for the client's end.
void tap_writer::look_at_client(int wait_ms)
{
    if (!socket_ || deaf_) {
        if (wait_ms > 0) {
            std::this_thread::sleep_for(std::chrono::milliseconds{wait_ms});
        }
        return;
    }
    // Once it has said that it is done, only room is waited for.
    const int events = (unsent() ? POLLOUT : 0) | (asked_ ? 0 : POLLIN | POLLRDHUP);
    pollfd client{.fd = to_.get(), .events = static_cast<short>(events), .revents = 0};
    (void)::poll(&client, 1, wait_ms);
    if ((client.revents & (POLLERR | POLLHUP)) != 0) {
        deaf_ = true;
        want_end({});
    } else if ((client.revents & (POLLIN | POLLRDHUP)) != 0) {
        want_end({}); // it has nothing to say but that
    }
    if (unsent() && std::chrono::steady_clock::now() - progress_ > settings_.patience) {
        deaf_ = true;
        want_end("nothing of it was taken for " +
                 std::to_string(settings_.patience.count() / 1000) + " s");
    }
}

} // namespace strait::control

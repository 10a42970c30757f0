// SPDX-License-Identifier: BSD-3-Clause
// Frames of `send` carry a stream's number, their own, and bytes that follow from both, so that
// `receive` knows each byte that has to come.
#include "ports/xen-netback/simulated/guest_traffic.hh"

#include "ports/xen-netback/simulated/tap.hh"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

namespace strait::xen::simulated {

namespace {

using std::chrono::steady_clock;

struct label {
    std::uint32_t magic;
    std::uint32_t stream;
    std::uint64_t number;
};
constexpr std::uint32_t magic = 0x3178'7473;
constexpr std::size_t ethernet = 14;
constexpr std::size_t labelled = ethernet + sizeof(label);
constexpr std::array<std::uint8_t, 2> ether_type{0x88, 0xb5}; // for experiments (IEEE 802)

std::byte expected(const label& l, std::size_t at) noexcept
{
    return static_cast<std::byte>(l.number * 131 + l.stream * 17 + at * 7 + (at >> 8U));
}

void swap_addresses(std::span<std::byte> frame) noexcept
{
    std::swap_ranges(frame.begin(), frame.begin() + sizeof(mac_bytes),
                     frame.begin() + sizeof(mac_bytes));
}

// ---- echo: every frame goes back to where it came from ----

class echo final : public traffic {
public:
    void take(netfront& device, std::size_t queue, const received_frame& f) override
    {
        if (f.bytes.size() < ethernet) {
            return;
        }
        buffer_.assign(f.bytes.begin(), f.bytes.end());
        swap_addresses(buffer_);
        netfront_queue& q = device.queue(queue);
        q.reap();
        ++(q.send({.bytes = buffer_, .extras = f.extras}) ? echoed_ : full_);
    }
    void report(boost::json::object& to) const override
    {
        to["echoed"] = echoed_;
        to["ring_full"] = full_;
    }

private:
    std::vector<std::byte> buffer_;
    std::uint64_t echoed_{0};
    std::uint64_t full_{0};
};

// ---- send ----

class sender final : public traffic {
public:
    sender(const traffic_settings& s, const mac_bytes& from)
        : count_{s.count}, rate_{s.rate}, frame_(std::max<std::size_t>(s.size, labelled))
    {
        std::memcpy(frame_.data(), s.to.data(), s.to.size());
        std::memcpy(frame_.data() + s.to.size(), from.data(), from.size());
        std::memcpy(frame_.data() + ethernet - ether_type.size(), ether_type.data(),
                    ether_type.size());
        for (std::uint32_t i = 1; i < s.slots; ++i) {
            cuts_.push_back(static_cast<std::uint16_t>(
                std::min<std::size_t>(frame_.size() / s.slots, page_size)));
        }
    }
    void link(netfront& /*device*/, bool up) override
    {
        if (up && sent_ == 0) {
            begin_ = steady_clock::now();
        }
    }
    void take(netfront& /*device*/, std::size_t /*queue*/, const received_frame& /*f*/) override {}
    bool send(netfront& device) override
    {
        constexpr int burst = 64;
        bool any = false;
        for (int i = 0; i < burst && may_send(); ++i) {
            // One stream a queue: frames of one queue stay in order.
            const auto stream = static_cast<std::uint32_t>(sent_ % device.queues().size());
            const label l{magic, stream, sent_ / device.queues().size()};
            std::memcpy(frame_.data() + ethernet, &l, sizeof l);
            for (std::size_t at = labelled; at < frame_.size(); ++at) {
                frame_[at] = expected(l, at);
            }
            if (!device.queue(stream).send({.bytes = frame_, .cuts = cuts_})) {
                break;
            }
            ++sent_;
            any = true;
        }
        answered_ = device.counts().tx_okay + device.counts().tx_error + device.counts().tx_dropped;
        return any;
    }
    [[nodiscard]] int due() const noexcept override
    {
        constexpr int soon = 200;
        return rate_ != 0 && (count_ == 0 || sent_ < count_) ? soon : -1;
    }
    [[nodiscard]] bool done() const noexcept override
    {
        return count_ != 0 && sent_ == count_ && answered_ >= count_;
    }
    void report(boost::json::object& to) const override { to["sent"] = sent_; }

private:
    [[nodiscard]] bool may_send() const
    {
        if (count_ != 0 && sent_ == count_) {
            return false;
        }
        const std::chrono::duration<double> passed = steady_clock::now() - begin_;
        return rate_ == 0 ||
               static_cast<double>(sent_) < passed.count() * static_cast<double>(rate_);
    }
    const std::uint64_t count_;
    const std::uint64_t rate_;
    std::vector<std::byte> frame_;
    std::vector<std::uint16_t> cuts_;
    steady_clock::time_point begin_{};
    std::uint64_t sent_{0};
    std::uint64_t answered_{0};
};

// ---- receive ----

class receiver final : public traffic {
public:
    explicit receiver(const traffic_settings& s) : count_{s.count} {}
    void take(netfront& /*device*/, std::size_t /*queue*/, const received_frame& f) override
    {
        if (f.bytes.size() < labelled || std::memcmp(f.bytes.data() + ethernet - ether_type.size(),
                                                     ether_type.data(), ether_type.size()) != 0) {
            ++others_;
            return;
        }
        label l{};
        std::memcpy(&l, f.bytes.data() + ethernet, sizeof l);
        if (l.magic != magic) {
            ++others_;
            return;
        }
        ++received_;
        for (std::size_t at = labelled; at < f.bytes.size(); ++at) {
            if (f.bytes[at] != expected(l, at)) {
                ++corrupt_;
                return;
            }
        }
        compared_ += f.bytes.size() - labelled;
        mac_bytes from{};
        std::memcpy(from.data(), f.bytes.data() + from.size(), from.size());
        std::uint64_t& next = next_[{from, l.stream}];
        if (l.number < next) {
            ++repeated_;
        } else {
            missing_ += l.number - next;
            next = l.number + 1;
        }
    }
    [[nodiscard]] bool done() const noexcept override { return count_ != 0 && received_ >= count_; }
    [[nodiscard]] bool good() const noexcept override { return corrupt_ == 0; }
    void report(boost::json::object& to) const override
    {
        to["received"] = received_;
        to["bytes_compared"] = compared_;
        to["corrupt"] = corrupt_;
        to["missing"] = missing_;
        to["repeated"] = repeated_;
        to["others"] = others_;
    }

private:
    const std::uint64_t count_;
    std::map<std::pair<mac_bytes, std::uint32_t>, std::uint64_t> next_;
    std::uint64_t received_{0};
    std::uint64_t compared_{0};
    std::uint64_t corrupt_{0};
    std::uint64_t missing_{0};
    std::uint64_t repeated_{0}; // or late
    std::uint64_t others_{0};
};

// ---- tap: the kernel is the guest's ----

class tap_traffic final : public traffic {
public:
    explicit tap_traffic(std::unique_ptr<tap> t) : tap_{std::move(t)}
    {
        (void)tap_->set_offloads(false, false, false);
        tap_->set_carrier(false);
    }
    void link(netfront& device, bool up) override
    {
        if (up) {
            const backend_features& b = device.offered();
            longest_slots_ = b.scatter_gather ? netif::max_slots : 1;
            (void)tap_->set_offloads(b.checksum && b.checksum_ipv6,
                                     b.scatter_gather && b.gso_tcp_v4,
                                     b.scatter_gather && b.gso_tcp_v6);
        }
        tap_->set_carrier(up);
    }
    void take(netfront& /*device*/, std::size_t /*queue*/, const received_frame& f) override
    {
        ++(tap_->give(f.bytes, f.extras) ? given_ : refused_);
    }
    bool send(netfront& device) override
    {
        constexpr int burst = 64;
        bool any = false;
        for (int i = 0; i < burst; ++i) {
            if (!std::ranges::all_of(device.queues(),
                                     [](const auto& q) { return q->room() > netif::max_slots; })) {
                waits_ = true; // what is in the tap stays there
                return any;
            }
            waits_ = false;
            const tap::taken t = tap_->take();
            if (t.bytes.empty()) {
                return any;
            }
            any = true;
            const sent_frame f{.bytes = t.bytes, .extras = t.extras};
            const bool fits = netfront_queue::slots_of(f) <= longest_slots_;
            ++(fits && device.queue(queue_of(t.bytes, device.queues().size())).send(f) ? taken_
                                                                                       : too_long_);
        }
        return any;
    }
    [[nodiscard]] int descriptor() const noexcept override
    {
        return waits_ ? -1 : tap_->descriptor();
    }
    void report(boost::json::object& to) const override
    {
        to["from_kernel"] = taken_;
        to["to_kernel"] = given_;
        to["refused_by_kernel"] = refused_;
        to["too_long"] = too_long_;
    }

private:
    // Packets of one flow go one way.
    static std::size_t queue_of(std::span<const std::byte> frame, std::size_t queues) noexcept
    {
        const auto place = find_transport(frame);
        if (queues == 1 || !place) {
            return 0;
        }
        std::uint32_t ports = 0;
        std::memcpy(&ports, frame.data() + place->start, sizeof ports);
        return (ports * 0x9e37'79b1U >> 16U) % queues;
    }
    std::unique_ptr<tap> tap_;
    std::uint32_t longest_slots_{1};
    bool waits_{false};
    std::uint64_t taken_{0};
    std::uint64_t given_{0};
    std::uint64_t refused_{0};
    std::uint64_t too_long_{0};
};

} // namespace

std::optional<mac_bytes> parse_mac(std::string_view text) noexcept
{
    constexpr std::size_t length = 17;
    if (text.size() != length) {
        return std::nullopt;
    }
    mac_bytes mac{};
    for (std::size_t i = 0; i < mac.size(); ++i) {
        const char* const at = text.data() + i * 3;
        const auto [stop, code] = std::from_chars(at, at + 2, mac[i], 16);
        if (code != std::errc{} || stop != at + 2 || (i > 0 && at[-1] != ':')) {
            return std::nullopt;
        }
    }
    return mac;
}

result<std::unique_ptr<traffic>> make_traffic(const traffic_settings& s, const std::string& mac)
{
    if (s.mode == "echo") {
        return std::unique_ptr<traffic>{std::make_unique<echo>()};
    }
    if (s.mode == "receive") {
        return std::unique_ptr<traffic>{std::make_unique<receiver>(s)};
    }
    if (s.mode == "send") {
        const auto from = parse_mac(mac);
        if (!from) {
            return error{"the tool stack gave the device no MAC address to send from"};
        }
        return std::unique_ptr<traffic>{std::make_unique<sender>(s, *from)};
    }
    if (s.mode == "tap") {
        auto t = tap::open(s.interface, mac);
        if (t.has_error()) {
            return t.error();
        }
        return std::unique_ptr<traffic>{std::make_unique<tap_traffic>(std::move(*t))};
    }
    return error{"there is no mode \"" + s.mode + "\": tap, echo, send or receive"};
}

} // namespace strait::xen::simulated

// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/ports/xen-netback/ring_lab.hh"

#include <array>
#include <stdexcept>

namespace strait::xen::test {

using dataplane::offloads;
using simulated::netfront_queue;

namespace {

constexpr std::uint32_t driver_pages = 2 * netif::ring_size + 16;
constexpr std::uint32_t grants = 1024;

template <typename T>
T must(ports::result<T> r)
{
    if (r.has_error()) {
        throw std::runtime_error{r.error().message};
    }
    return std::move(r).value();
}

// Each lab begins anew; domains of one lab differ.
domain_id next_domain()
{
    static std::uint16_t last = first_domain;
    return domain_id{last++};
}

} // namespace

frontend_features all_features()
{
    using enum offloads;
    return {.scatter_gather = true,
            .offloads = checksum_ipv4 | checksum_ipv6 | segmentation_ipv4 | segmentation_ipv6,
            .multicast_control = false};
}

wired_guest::wired_guest(lab& l, hypervisor& h, options o)
    : hypervisor_{h},
      options_{o},
      id_{next_domain()},
      domain_{l.guest(id_, {grants, driver_pages + o.pages})},
      front_{must(netfront_queue::make(*domain_, {.backend = h.own_domain(),
                                                  .split_channels = o.split_channels,
                                                  .receive_buffers = o.receive_buffers}))}
{
    wire(false);
}

wired_guest::~wired_guest() = default;

void wired_guest::wire(bool left_behind)
{
    rings_.reset();
    auto r = std::make_unique<ring_set>();
    r->guest = std::make_unique<guest>();
    r->guest->hypervisor = &hypervisor_;
    r->guest->domain = id_;
    r->guest->features = options_.features;
    r->guest->rate = options_.rate;
    const std::array refs{front_->tx_ring_ref(), front_->rx_ring_ref()};
    r->mappings.push_back(must(hypervisor_.map(id_, refs)));
    auto* const base = static_cast<std::byte*>(r->mappings.front()->base());
    r->channels.push_back(must(hypervisor_.bind(id_, front_->tx_port())));
    if (options_.split_channels) {
        r->channels.push_back(must(hypervisor_.bind(id_, front_->rx_port())));
    }
    r->sources.push_back(std::make_unique<source>(netif::tx_ring{base}, *r->guest,
                                                  *r->channels.front(), left_behind));
    r->sinks.push_back(std::make_unique<sink>(netif::rx_ring{base + page_size}, *r->guest,
                                              *r->channels.back(), left_behind));
    rings_ = std::move(r);
    (void)told(); // by the binding
}

void wired_guest::restart()
{
    worker_.burst->clear();
    wire(true);
}

bool wired_guest::told()
{
    bool any = false;
    for (const int fd : front_->descriptors()) {
        std::uint64_t count = 0;
        any = (fd >= 0 && ::read(fd, &count, sizeof count) == sizeof count) || any;
    }
    return any;
}

void wired_guest::send(const frame& f, simulated::frame_extras e,
                       std::span<const std::uint16_t> cuts, std::uint16_t offset)
{
    if (!front_->send({.bytes = as_bytes(f), .extras = e, .cuts = cuts, .offset = offset})) {
        throw std::runtime_error{"the guest's ring has no room: " + front_->violation()};
    }
}

ports::rx_queue::poll wired_guest::receive()
{
    worker_.burst->clear();
    return out().receive(*worker_.burst, worker_.context());
}

void wired_guest::release()
{
    out().release(*worker_.burst, worker_.context());
    worker_.notifications.flush();
}

std::vector<frame> wired_guest::poll()
{
    std::vector<frame> all;
    if (receive() == ports::rx_queue::poll::taken) {
        for (const auto& p : burst()) {
            all.push_back(strait::test::bytes_of(p));
        }
        release();
    }
    return all;
}

std::vector<frame> wired_guest::poll_all()
{
    publish();
    std::vector<frame> all;
    while (receive() == ports::rx_queue::poll::taken) {
        for (const auto& p : burst()) {
            all.push_back(strait::test::bytes_of(p));
        }
        release();
    }
    reap();
    return all;
}

void wired_guest::transmit(std::span<dataplane::packet* const> packets)
{
    in().transmit(packets, worker_.context());
    worker_.notifications.flush();
}

void wired_guest::transmit(const std::vector<frame>& frames)
{
    std::vector<std::unique_ptr<strait::test::borrowed_packet>> lent;
    std::vector<dataplane::packet*> list;
    for (const frame& f : frames) {
        lent.push_back(std::make_unique<strait::test::borrowed_packet>(f));
        list.push_back(&lent.back()->get());
    }
    transmit(list);
}

std::vector<wired_guest::delivered> wired_guest::take()
{
    std::vector<delivered> all;
    front_->receive(1000, [&](const simulated::received_frame& f) {
        all.push_back({to_frame(f.bytes), f});
        all.back().about.bytes = {};
    });
    return all;
}

std::vector<frame> wired_guest::take_frames()
{
    std::vector<frame> all;
    for (auto& d : take()) {
        all.push_back(std::move(d.bytes));
    }
    return all;
}

std::size_t wired_guest::forward(wired_guest& to)
{
    if (receive() != ports::rx_queue::poll::taken) {
        return 0;
    }
    std::vector<dataplane::packet*> list;
    for (auto& p : burst()) {
        p.destinations = 1;
        list.push_back(&p);
    }
    const std::size_t count = list.size();
    to.transmit(list);
    release();
    return count;
}

void put_request(wired_guest& g, netif::tx_request r)
{
    g.front().tx().put(r);
}

void put_extra(wired_guest& g, netif::extra e, std::uint8_t flags, std::array<std::uint8_t, 6> body)
{
    netif::extra_info info{.type = static_cast<std::uint8_t>(e), .flags = flags, .body = {}};
    std::copy(body.begin(), body.end(), info.body);
    g.front().tx().put(info);
}

netif::tx_response response_at(wired_guest& g, std::uint32_t at)
{
    netif::tx_response r{};
    std::memcpy(&r, g.front().tx().slot(at), sizeof r);
    return r;
}

} // namespace strait::xen::test

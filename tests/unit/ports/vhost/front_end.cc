// SPDX-License-Identifier: BSD-3-Clause
// Raw vhost-user, and a guest over it.
#include "front_end.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/un.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

namespace strait::vhost::test {

namespace {

constexpr std::size_t header_size = 12;

bool readable(int fd, std::chrono::milliseconds patience)
{
    pollfd p{.fd = fd, .events = POLLIN | POLLRDHUP, .revents = 0};
    return ::poll(&p, 1, static_cast<int>(patience.count())) > 0;
}

bool read_all(int fd, std::byte* to, std::size_t size, std::chrono::milliseconds patience)
{
    while (size > 0) {
        if (!readable(fd, patience)) {
            return false;
        }
        const ssize_t n = ::recv(fd, to, size, 0);
        if (n <= 0) {
            return false;
        }
        to += n;
        size -= static_cast<std::size_t>(n);
    }
    return true;
}

void must(const std::optional<std::uint64_t>& reply, const char* what)
{
    if (reply != std::uint64_t{0}) {
        throw std::runtime_error{std::string{"the port refused "} + what};
    }
}

} // namespace

front_end::front_end(const std::string& path) : fd_{::socket(AF_UNIX, SOCK_STREAM, 0)}
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        const int code = errno;
        ::close(fd_);
        throw std::system_error{code, std::generic_category(), path};
    }
}

front_end::front_end(front_end&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}

front_end& front_end::operator=(front_end&& other) noexcept
{
    std::swap(fd_, other.fd_);
    return *this;
}

front_end::~front_end()
{
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

bool front_end::send_raw(std::span<const std::byte> data, std::span<const int> fds)
{
    iovec io{const_cast<std::byte*>(data.data()), data.size()}; // NOLINT: sendmsg only reads
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(253 * sizeof(int))> control{};
    msghdr m{};
    m.msg_iov = &io;
    m.msg_iovlen = 1;
    if (!fds.empty()) {
        m.msg_control = control.data();
        m.msg_controllen = CMSG_SPACE(fds.size_bytes());
        const cmsghdr c{CMSG_LEN(fds.size_bytes()), SOL_SOCKET, SCM_RIGHTS};
        std::memcpy(control.data(), &c, sizeof(c));
        std::memcpy(control.data() + CMSG_LEN(0), fds.data(), fds.size_bytes());
    }
    return ::sendmsg(fd_, &m, MSG_NOSIGNAL) == static_cast<ssize_t>(data.size());
}

bool front_end::send(request r, std::span<const std::byte> payload, std::span<const int> fds,
                     std::uint32_t flags)
{
    const std::array<std::uint32_t, 3> header{static_cast<std::uint32_t>(r), flags,
                                              static_cast<std::uint32_t>(payload.size())};
    const auto head = std::as_bytes(std::span{header});
    bytes all(head.size() + payload.size());
    std::ranges::copy(payload, std::ranges::copy(head, all.begin()).out);
    return send_raw(all, fds);
}

std::optional<bytes> front_end::answer(std::chrono::milliseconds patience)
{
    std::array<std::uint32_t, 3> header{};
    if (!read_all(fd_, std::as_writable_bytes(std::span{header}).data(), header_size, patience)) {
        return std::nullopt;
    }
    bytes payload(header[2]);
    if (!read_all(fd_, payload.data(), payload.size(), patience)) {
        return std::nullopt;
    }
    return payload;
}

std::optional<std::uint64_t> front_end::number(const std::optional<bytes>& payload)
{
    if (!payload || payload->size() != sizeof(std::uint64_t)) {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    std::memcpy(&value, payload->data(), sizeof(value));
    return value;
}

std::optional<std::uint64_t> front_end::ask(request r)
{
    return send(r) ? number(answer()) : std::nullopt;
}

bool front_end::is_closed(std::chrono::milliseconds patience)
{
    const auto until = std::chrono::steady_clock::now() + patience;
    std::array<char, 256> rest{};
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            until - std::chrono::steady_clock::now());
        if (left.count() <= 0 || !readable(fd_, left)) {
            return false;
        }
        if (::recv(fd_, rest.data(), rest.size(), 0) <= 0) {
            return true;
        }
    }
}

void front_end::introduce(std::uint64_t features)
{
    constexpr std::uint64_t reply_ack = 1U << 3;
    const auto offered = ask(request::get_features);
    if (!offered || (features & ~*offered) != 0) {
        throw std::runtime_error{"the port does not offer these features"};
    }
    send(request::set_owner);
    if (!ask(request::get_protocol_features)) {
        throw std::runtime_error{"the port does not tell its protocol features"};
    }
    const std::uint64_t several = has_feature(features, feature::multiqueue) ? 1U : 0U;
    send(request::set_protocol_features, reply_ack | several);
    must(try_out(request::set_features, features), "SET_FEATURES");
}

bytes front_end::memory_table(std::span<const memory_region> regions)
{
    const std::array<std::uint32_t, 2> count{static_cast<std::uint32_t>(regions.size()), 0};
    const auto head = std::as_bytes(std::span{count});
    const auto rest = std::as_bytes(regions);
    bytes table(head.size() + rest.size());
    std::ranges::copy(rest, std::ranges::copy(head, table.begin()).out);
    return table;
}

void front_end::share(const guest_ram& ram)
{
    must(try_to_share(ram), "SET_MEM_TABLE");
}

std::optional<std::uint64_t> front_end::try_to_share(const guest_ram& ram)
{
    std::vector<memory_region> regions;
    std::vector<int> fds;
    std::uint64_t offset = 0;
    for (const auto& r : ram.regions()) {
        regions.push_back({r.address, r.size, r.address, offset});
        fds.push_back(ram.fd());
        offset += r.size;
    }
    const bytes table = memory_table(regions);
    return try_out(request::set_mem_table, std::span<const std::byte>{table}, fds);
}

void front_end::set_ring(unsigned index, const driver& d, std::uint32_t base)
{
    const auto places = d.places();
    must(try_out(request::set_vring_num, vring_state{index, d.options().size}), "SET_VRING_NUM");
    must(try_out(request::set_vring_base, vring_state{index, base}), "SET_VRING_BASE");
    must(try_out(request::set_vring_addr, vring_address{.index = index,
                                                        .flags = 0,
                                                        .descriptors = places[0].address,
                                                        .used = places[2].address,
                                                        .available = places[1].address,
                                                        .log = 0}),
         "SET_VRING_ADDR");
    const int call = d.call_fd();
    must(try_out(request::set_vring_call, std::uint64_t{index}, std::span{&call, 1}),
         "SET_VRING_CALL");
    const int kick = d.kick_fd();
    must(try_out(request::set_vring_kick, std::uint64_t{index}, std::span{&kick, 1}),
         "SET_VRING_KICK");
}

void front_end::enable(unsigned index, bool yes)
{
    must(try_out(request::set_vring_enable, vring_state{index, yes ? 1U : 0U}), "SET_VRING_ENABLE");
    // The library answers before the port hears of the ring; this answer comes after.
    ask(request::get_features);
}

// ---- the guest ----

guest::guest(const std::string& socket) : guest(socket, options{}) {}

guest::guest(front_end f, options o) : options_{o}, ram_{std::make_unique<guest_ram>(o.memory)}
{
    make_rings();
    attach(std::move(f));
}

void guest::boot(options o)
{
    for (unsigned ring = 0; ring < 2 * pairs_.size(); ++ring) {
        front_->send(request::get_vring_base, vring_state{ring, 0});
        if (!front_->answer()) {
            throw std::runtime_error{"the port does not tell where a ring stands"};
        }
    }
    options_ = o;
    make_rings();
    begin();
}

void guest::make_rings()
{
    const auto& o = options_;
    pairs_ = std::vector<ring_pair>(o.pairs);
    const ring_options rings{.packed = has_feature(o.features, feature::ring_packed),
                             .size = o.ring_size,
                             .features = o.features,
                             .start = {},
                             .shuffle = nullptr};
    for (ring_pair& p : pairs_) {
        p.rx = make_driver(*ram_, rings);
        p.tx = make_driver(*ram_, rings);
        for (std::size_t i = 0; i < o.ring_size / 2; ++i) {
            p.rx_buffers.push_back(ram_->allocate(buffer_size, 64));
            p.tx_buffers.push_back(ram_->allocate(buffer_size, 64));
            p.rx_idle.push_back(i);
            p.tx_idle.push_back(i);
        }
        refill(p);
    }
}

void guest::attach(front_end f)
{
    front_ = std::move(f);
    begin();
}

void guest::begin()
{
    front_->introduce(options_.features);
    front_->share(*ram_);
    for (unsigned i = 0; i < pairs_.size(); ++i) {
        // As QEMU: what it knows of a packed ring is where it was when the guest's driver made it.
        const std::uint32_t base = rx().options().packed ? 0x8000 : 0;
        front_->set_ring(2 * i, rx(i), base);
        front_->set_ring(2 * i + 1, tx(i), base);
    }
    use(static_cast<unsigned>(pairs_.size()));
}

void guest::use(unsigned count)
{
    for (unsigned i = 0; i < pairs_.size(); ++i) {
        front_->enable(2 * i, i < count);
        front_->enable(2 * i + 1, i < count);
    }
}

void guest::refill(ring_pair& p)
{
    while (!p.rx_idle.empty()) {
        const std::size_t token = p.rx_idle.back();
        if (!p.rx->add({{p.rx_buffers[token], buffer_size, true}}, token)) {
            break;
        }
        p.rx_idle.pop_back();
    }
    p.rx->publish();
}

void guest::collect_sent(ring_pair& p)
{
    for (const auto& r : p.tx->collect()) {
        p.tx_idle.push_back(r.token);
        --p.unsent;
    }
}

bool guest::transmit(const bytes& frame, bool show, unsigned pair)
{
    return transmit(net_header{}, frame, show, pair);
}

bool guest::transmit(const net_header& h, const bytes& frame, bool show, unsigned of)
{
    ring_pair& p = pairs_[of];
    collect_sent(p);
    if (p.tx_idle.empty()) {
        return false;
    }
    const std::size_t token = p.tx_idle.back();
    bytes buffer(sizeof h);
    std::memcpy(buffer.data(), &h, sizeof h);
    buffer.insert(buffer.end(), frame.begin(), frame.end());
    ram_->write(p.tx_buffers[token], buffer);
    if (!p.tx->add({{p.tx_buffers[token], static_cast<std::uint32_t>(buffer.size())}}, token)) {
        return false;
    }
    p.tx_idle.pop_back();
    ++p.unsent;
    if (show) {
        p.tx->publish();
    }
    return true;
}

std::vector<bytes> guest::receive()
{
    std::vector<bytes> all;
    for (unsigned i = 0; i < pairs_.size(); ++i) {
        auto some = receive(i);
        std::ranges::move(some, std::back_inserter(all));
    }
    return all;
}

std::vector<bytes> guest::receive(unsigned of)
{
    std::vector<bytes> frames;
    for (arrived& a : receive_with_headers(of)) {
        frames.push_back(std::move(a.frame));
    }
    return frames;
}

std::vector<guest::arrived> guest::receive_with_headers(unsigned of)
{
    ring_pair& p = pairs_[of];
    collect_sent(p);
    std::vector<arrived> frames;
    for (const auto& r : p.rx->collect()) {
        const bytes all = ram_->read(p.rx_buffers[r.token], r.length);
        if (all.size() >= sizeof(net_header)) {
            arrived& a = frames.emplace_back();
            std::memcpy(&a.header, all.data(), sizeof a.header);
            a.frame.assign(all.begin() + sizeof a.header, all.end());
        }
        p.rx_idle.push_back(r.token);
    }
    refill(p);
    return frames;
}

} // namespace strait::vhost::test

// SPDX-License-Identifier: BSD-3-Clause
// VIRTIO 1.1 section 5.1. Memory for rings and buffers is taken from the RAM in one direction, and
// all given back before the next device.

#include "tests/vmm/guest/net.hh"

#include "tests/vmm/guest/boot.hh"
#include "tests/vmm/guest/console.hh"

#include <algorithm>
#include <cstring>

namespace strait::guest {

namespace {

namespace feature = vhost::feature;

constexpr std::uint64_t bit(unsigned n) noexcept
{
    return std::uint64_t{1} << n;
}

constexpr unsigned feature_mac = 5;
constexpr unsigned feature_control = 17;
constexpr unsigned feature_pairs = 22;
// This driver cannot: promise order, put data into notifications, keep vhost-user's own.
constexpr std::uint64_t unknown =
    bit(feature::in_order) | bit(38) | bit(feature::protocol_features);

// The device's configuration.
constexpr std::uint32_t config_mac = 0;
constexpr std::uint32_t config_status = 6;
constexpr std::uint32_t config_pairs = 8;
constexpr std::uint32_t config_mtu = 10;
constexpr unsigned link_up = 1;

constexpr std::uint64_t low_start = 16ULL << 20;
constexpr std::uint64_t high_start = 4ULL << 30;
constexpr std::uint64_t mapped_end = 8ULL << 30;
std::uint64_t low_next = low_start;
std::uint64_t high_next = high_start;

alignas(16) std::array<std::byte, max_frame + 16> model;

std::uint64_t high_end() noexcept
{
    for (const memory_range& r : read_boot_info().memory) {
        if (r.type == 1 && r.start == high_start) {
            return std::min(r.start + r.length, mapped_end);
        }
    }
    return high_start;
}

struct zeros {
    std::byte* at;
    std::size_t count;
};

// In ring 3, because it is much.
std::uint64_t clear(void* argument)
{
    const auto& z = *static_cast<const zeros*>(argument);
    std::memset(z.at, 0, z.count);
    return 0;
}

std::uint64_t make_model(void* argument)
{
    const auto& s = *static_cast<const run_settings*>(argument);
    std::byte* const frame = model.data();
    for (std::size_t i = 0; i < model.size(); ++i) {
        frame[i] = static_cast<std::byte>(i * 7 + (i >> 8));
    }
    std::memcpy(frame, s.destination.data(), 6);
    std::memcpy(frame + 6, s.source.data(), 6);
    frame[12] = std::byte{0x88};
    frame[13] = std::byte{0xb5};
    std::memcpy(frame + mark_at, &mark, sizeof(mark));
    return 0;
}

void write_mac(const mac_address& mac) noexcept
{
    for (std::size_t i = 0; i < mac.size(); ++i) {
        write(i == 0 ? "" : ":");
        write(digits{mac[i], 2});
    }
}

} // namespace

std::byte* allocate(std::size_t bytes, bool high) noexcept
{
    std::uint64_t& next = high ? high_next : low_next;
    const std::uint64_t end = high ? high_end() : spare_memory();
    const std::uint64_t at = next;
    next = (next + bytes + 4095) & ~std::uint64_t{4095};
    if (next > end) {
        panic("not enough memory for rings and buffers");
    }
    return reinterpret_cast<std::byte*>(at);
}

void free_all() noexcept
{
    low_next = low_start;
    high_next = high_start;
}

std::uint64_t spare_memory() noexcept
{
    const std::uint64_t end = low_memory_end();
    if (end < low_start + 2 * spare_length) {
        panic("less than 32 MiB of memory");
    }
    return (end - spare_length) & ~std::uint64_t{4095};
}

std::uint64_t network::wanted(const net_settings& s, std::uint64_t offered) noexcept
{
    std::uint64_t bits = bit(feature_mac) | bit(feature::mtu) | bit(feature::status) | s.features;
    if (s.mergeable) {
        bits |= bit(feature::mergeable_buffers);
    }
    if (s.packed) {
        bits |= bit(feature::ring_packed);
    }
    if (s.pairs > 1) {
        bits |= bit(feature_control) | bit(feature_pairs);
    }
    return (bits & offered & ~unknown) | bit(feature::version_1) | s.force;
}

// Vector 0 is the configuration's; if there are few, queues share what there is.
std::uint16_t network::message_of(std::uint16_t queue) const noexcept
{
    if (messages_ == 0) {
        return virtio_device::no_message;
    }
    return messages_ == 1 ? std::uint16_t{0}
                          : static_cast<std::uint16_t>(1 + queue % (messages_ - 1));
}

bool network::start_queue(data_queue& q, std::uint16_t index, const net_settings& s) noexcept
{
    const bool is_control = &q == &control_;
    std::uint16_t size = device_->max_size(index);
    size = static_cast<std::uint16_t>(std::min<std::uint64_t>(size, is_control ? 64 : s.ring));
    if (size < 4 || (size & (size - 1)) != 0) {
        print("net=queue ", index, " has size ", size);
        return false;
    }
    zeros ring{allocate(virtqueue::bytes(size), s.high), virtqueue::bytes(size)};
    call_in_ring_3(clear, &ring);
    // In place: a queue is too much for the stack of ring 0.
    q.ring = virtqueue{{vhost::has_feature(features_, feature::ring_packed),
                        vhost::has_feature(features_, feature::event_index), size,
                        static_cast<std::uint16_t>(is_control ? 3 : 1)},
                       ring.at};
    q.index = index;
    q.message = message_of(index);
    q.length = static_cast<std::uint32_t>(is_control ? 64 : s.buffer);
    q.stride = (q.length + 4 + 16 + 63) & ~63U;
    q.buffers = allocate(std::size_t{q.stride} * size, s.high) + 4;
    q.idle_count = 0;
    q.rest = 0;
    if (!device_->start(index, size, q.ring.where(), q.message, q.notify)) {
        print("net=queue ", index, " not taken");
        return false;
    }
    return true;
}

bool network::is_link_up() const noexcept
{
    return (device_->config<std::uint16_t>(config_status) & link_up) != 0;
}

void network::print_config() noexcept
{
    mac_ = {0x02, 0, 0, 0, 0, 0x01};
    if (vhost::has_feature(features_, feature_mac)) {
        for (std::size_t i = 0; i < mac_.size(); ++i) {
            mac_[i] = device_->config<std::uint8_t>(config_mac + static_cast<std::uint32_t>(i));
        }
        write("net_mac=");
        write_mac(mac_);
        write("\n");
    }
    if (vhost::has_feature(features_, feature::status)) {
        print("net_link=", is_link_up() ? 1U : 0U);
    }
    if (vhost::has_feature(features_, feature::mtu)) {
        print("net_mtu=", device_->config<std::uint16_t>(config_mtu));
    }
}

// The control queue's command to use all pairs: class 4, command 0, a number; then an answer.
bool network::set_pairs() noexcept
{
    std::byte* const text = control_.buffer(0);
    const std::array<std::uint8_t, 5> command{4, 0, static_cast<std::uint8_t>(pair_count_), 0,
                                              0xff};
    std::memcpy(text, command.data(), command.size());
    const auto at = reinterpret_cast<std::uint64_t>(text);
    const std::array<virtqueue::segment, 3> chain{
        {{at, 2, false}, {at + 2, 2, false}, {at + 4, 1, true}}};
    control_.ring.offer(0, chain);
    if (control_.ring.publish()) {
        store(control_.notify, control_.index);
    }
    const std::uint64_t began = cycles();
    while (!control_.ring.take()) {
        if (cycles() - began > 5 * cycles_per_second()) {
            print("net=no answer on the control queue");
            return false;
        }
    }
    const auto answer = load<std::uint8_t>(at + 4);
    print("net_control=", answer);
    if (answer != 0) {
        print("net=queues refused");
    }
    return answer == 0;
}

bool network::start(const net_settings& s) noexcept
{
    device_.reset();
    pair_count_ = 0;
    if (!s.keep) {
        free_all();
    }
    unsigned count = 0;
    for (const pci::function f : pci::find()) {
        if (virtio_device::type_of(f) == virtio_device::network && count++ == s.device) {
            device_.emplace(f);
        }
    }
    print("net_devices=", count);
    if (!device_) {
        print("net=no such device");
        return false;
    }
    if (!device_->reset()) {
        print("net=no reset");
        return false;
    }
    const std::uint64_t offered = device_->offered();
    features_ = wanted(s, offered);
    print("net_offered=", hex{offered});
    print("net_features=", hex{features_});
    if (!device_->negotiate(features_)) {
        print("net=features refused");
        return false;
    }
    print_config();
    messages_ = s.messages ? device_->use_messages() : 0;
    const std::uint16_t total = device_->queues();
    std::uint16_t most = 1;
    if (vhost::has_feature(features_, feature_pairs)) {
        most = device_->config<std::uint16_t>(config_pairs);
        print("net_max_pairs=", most);
    }
    pair_count_ = std::min<std::size_t>({s.pairs, most, max_pairs});
    if (s.buffer < 64 || s.buffer > max_frame + sizeof(vhost::net_header) || s.ring > max_ring ||
        pair_count_ == 0) {
        panic("a setting is out of range");
    }
    print("net_queues=", total);
    print("net_messages=", messages_);
    print("net_ring=", std::min<std::uint64_t>(device_->max_size(0), s.ring));
    if (messages_ != 0 && !device_->set_config_message(0)) {
        print("net=no vector for the configuration");
        return false;
    }
    for (std::uint16_t i = 0; i < pair_count_; ++i) {
        const auto index = static_cast<std::uint16_t>(2 * i);
        if (!start_queue(pairs_[i].receive, index, s) ||
            !start_queue(pairs_[i].transmit, static_cast<std::uint16_t>(index + 1), s)) {
            return false;
        }
    }
    const bool controlled = vhost::has_feature(features_, feature_control);
    if (controlled && !start_queue(control_, static_cast<std::uint16_t>(2 * most), s)) {
        return false;
    }
    device_->add_status(device_status::driver_ok);
    for (std::size_t i = 0; i < pair_count_; ++i) {
        call_in_ring_3(fill_queues, &pairs_[i]);
    }
    if (pair_count_ > 1 && !set_pairs()) {
        return false;
    }
    print("net_pairs=", pair_count_);
    print("net_status=", hex{device_->status()});
    print("net=ok");
    return true;
}

void network::end() noexcept
{
    if (device_ && !device_->reset()) {
        panic("a network device is not reset");
    }
    device_.reset();
    pair_count_ = 0;
}

std::uint32_t network::message_count() noexcept
{
    std::uint32_t sum = 0;
    for (unsigned i = 0; i < vector::messages; ++i) {
        sum += interrupts(vector::first_message + i);
    }
    return sum;
}

// Until an interrupt of a queue that the loop waits for. A ping asked for its own before it was
// sent: it waits for that one also if the answer is there already, but not for long.
void network::rest(traffic& t) noexcept
{
    const bool is_ping = t.what == traffic::kind::ping;
    bool pending = false;
    for (queue_pair& p : t.pairs) {
        virtqueue& q = t.what == traffic::kind::transmit ? p.transmit.ring : p.receive.ring;
        q.want_interrupt(true);
        pending |= q.pending();
    }
    const std::uint64_t now = cycles();
    if (now < t.deadline && (is_ping || !pending)) {
        sleep(pending ? 1'000'000 : (t.deadline - now) * 1000 / (cycles_per_second() / 1'000'000));
    }
    if (!is_ping) {
        want_none(t);
    }
}

void network::want_none(traffic& t) noexcept
{
    for (queue_pair& p : t.pairs) {
        p.transmit.ring.want_interrupt(false);
        p.receive.ring.want_interrupt(false);
    }
}

void network::run(std::string_view name, traffic::kind what, std::uint64_t count,
                  const run_settings& s, bool stop, network* sender) noexcept
{
    if (!device_ || pair_count_ == 0 || (sender != nullptr && sender->pair_count_ == 0)) {
        panic("no network device is set up for ", name);
    }
    run_settings addressed = s;
    if (s.source == mac_address{}) {
        addressed.source = mac_;
    }
    const bool by_size = what != traffic::kind::receive && what != traffic::kind::echo;
    const std::size_t room = pairs_[0].transmit.length - sizeof(vhost::net_header);
    if (by_size && (s.size < pattern_at || s.size > room)) {
        panic("size= does not fit a buffer");
    }
    if (s.sleep && messages_ == 0) {
        panic("wait=irq needs MSI-X");
    }
    call_in_ring_3(make_model, &addressed);
    traffic t{};
    t.what = what;
    t.yields = s.sleep;
    t.pairs = {pairs_.data(), pair_count_};
    t.sender = sender != nullptr ? sender->pairs_.data() : nullptr;
    t.model = {model.data(), s.size};
    t.all = {model.data(), max_frame};
    t.stop = stop;
    t.count = count;
    t.deadline = cycles() + s.seconds * cycles_per_second();
    const std::uint32_t before = message_count();
    std::uint64_t sleeps = 0;
    auto result = traffic::result::idle;
    for (;;) {
        result = static_cast<traffic::result>(call_in_ring_3(run_traffic, &t));
        if (result != traffic::result::idle) {
            break;
        }
        ++sleeps;
        rest(t);
    }
    want_none(t);
    const auto line = [name](std::string_view key, std::uint64_t value) {
        print(name, "_", key, "=", value);
    };
    const bool sends = what != traffic::kind::receive;
    const bool receives = what != traffic::kind::transmit;
    if (sends) {
        line("sent", t.sent);
        line("sent_bytes", t.sent_bytes);
    }
    if (receives) {
        line("received", t.received);
        line("received_bytes", t.received_bytes);
        line("buffers", t.buffers);
        line("ours", t.ours);
        line("bad", t.bad);
        line("gaps", t.gaps);
    }
    if (what == traffic::kind::echo) {
        line("skipped", t.skipped);
    }
    if (what == traffic::kind::ping && t.sent > (t.waiting ? 1U : 0U)) {
        line("cycles_least", t.shortest);
        line("cycles_mean", t.total / (t.sent - (t.waiting ? 1 : 0)));
        line("cycles_most", t.longest);
    }
    line("kicks", t.kicks);
    line("sleeps", sleeps);
    line("interrupts", message_count() - before);
    const std::uint64_t took = t.last_cycle - t.first_cycle;
    line("cycles", took);
    const std::uint64_t frames = receives ? t.received : t.taken;
    line("frames_per_second",
         took == 0 ? 0 : frames * (cycles_per_second() / 1000) / (took / 1000 + 1));
    constexpr std::array<std::string_view, 3> ends{"count", "stop", "time"};
    print(name, "_end=", ends[static_cast<std::size_t>(result)]);
    print(name, "=", frames);
}

void network::wait_link(bool up, const run_settings& s) noexcept
{
    if (!device_ || !vhost::has_feature(features_, feature::status)) {
        panic("no network device that tells its link");
    }
    const std::uint32_t before = interrupts(virtio_device::cpu_vector(0));
    const std::uint64_t deadline = cycles() + s.seconds * cycles_per_second();
    while (is_link_up() != up && cycles() < deadline) {
        sleep(messages_ != 0 ? 1'000'000'000 : 10'000'000);
    }
    // The change may be seen before its notice comes.
    while (messages_ != 0 && interrupts(virtio_device::cpu_vector(0)) == before &&
           cycles() < deadline) {
        sleep(100'000'000);
    }
    print("link_interrupts=", interrupts(virtio_device::cpu_vector(0)) - before);
    print("link_generation=", device_->config_generation());
    print("link=", is_link_up() ? 1U : 0U);
}

} // namespace strait::guest

// SPDX-License-Identifier: BSD-3-Clause
// The control ring of a Xen guest, and the hash that it asks for over packets. An input is
//   number of operations, operations of 4 bytes, image
// where the image is what the ring's page begins with: indices, then slots, and behind them what is
// taken for packets. An operation has the ring served, hashes a packet, or is the guest's: a 16-bit
// store into the ring or a page, at once or while a message's grant is being read, a change of a
// grant, or one more message. A second account of the protocol (Xen's public io/netif.h, "Control
// messages") says what has to stand in the ring's page afterwards, and what is asked for.
#include "dataplane/flow_hash.hh"
#include "dataplane/packet.hh"
#include "ports/xen-netback/control_ring.hh"
#include "tests/fuzz/check.hh"
#include "tests/fuzz/xen_grants.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace strait;
using namespace strait::xen;
using fuzz::check;

constexpr std::uint32_t queues = 3;
constexpr std::uint32_t slots = netif::control_ring_size;
constexpr std::size_t behind_slots = netif::slots_offset + slots * sizeof(netif::control_request);

// A 16-bit store by the guest.
struct guest_store {
    std::byte* page;
    std::size_t at;
    std::uint16_t value;
    void run() const { std::memcpy(page + at, &value, sizeof value); }
};

// The guest changes something the moment that a grant of it was read.
class watched_grants final : public fuzz::grants {
public:
    void copy(std::span<dataplane::remote_copy> pieces) noexcept override
    {
        check(pieces.size() == 1);
        check(pieces.front().flags() == dataplane::remote_copy::source_granted);
        grants::copy(pieces);
        if (upon_copy) {
            upon_copy->run();
            upon_copy.reset();
        }
    }
    std::optional<guest_store> upon_copy;
};

class ring_mapping final : public mapped_grants {
public:
    explicit ring_mapping(std::byte* at) : at_{at} {}
    [[nodiscard]] void* base() const noexcept override { return at_; }

private:
    std::byte* at_;
};

// What a guest asked for, and what it has to be answered.
class account {
public:
    account(const watched_grants& memory, const std::byte* ring) : memory_{memory}
    {
        std::memcpy(page.data(), ring, page.size());
        taken_ = field(netif::ring_field::rsp_prod);
    }
    // Whether the guest is to be told of what was answered.
    bool serve()
    {
        meanwhile_ = memory_.upon_copy;
        const std::uint32_t ready = field(netif::ring_field::req_prod) - taken_;
        if (broken || ready == 0) {
            set(netif::ring_field::req_event, taken_ + 1);
            return false;
        }
        if (ready > slots) {
            broken = true;
            return false;
        }
        const std::uint32_t count = std::min<std::uint32_t>(ready, control_ring::budget);
        const auto slot = [this](std::uint32_t n) {
            return page.data() + netif::slots_offset + n % slots * 16;
        };
        std::vector<netif::control_response> answers;
        for (std::uint32_t i = 0; i < count; ++i) {
            netif::control_request r{};
            std::memcpy(&r, slot(taken_ + i), sizeof r);
            netif::control_response answer{r.id, r.type, 0, 0};
            answer.status = handle(r, answer.data);
            answers.push_back(answer);
        }
        for (const netif::control_response& answer : answers) { // none before all are handled
            std::memcpy(slot(taken_++), &answer, sizeof answer);
        }
        set(netif::ring_field::rsp_prod, taken_);
        return taken_ - field(netif::ring_field::rsp_event) < count;
    }
    void check_hash(const hash_config* published) const
    {
        check((published != nullptr) == toeplitz_);
        for (std::uint32_t h = 0; toeplitz_ && h < 2 * hash_config::max_mapping; ++h) {
            check(published->queue({.hash = h, .type = 1}, queues) == queue(h));
        }
    }
    // The queue of a packet with this hash.
    [[nodiscard]] std::uint32_t queue(std::uint32_t hash) const
    {
        return table_.empty() ? hash % queues : table_[hash % table_.size()];
    }
    [[nodiscard]] hash_config::value hash_of(const dataplane::packet& p) const
    {
        hash_config c;
        check((key_.empty() || c.set_key(key_)) && c.set_types(types_));
        return c.of(p);
    }
    [[nodiscard]] bool asks(std::uint32_t type) const { return (types_ & type) == type; }

    std::array<std::byte, page_size> page; // as it has to be
    bool broken{false};

private:
    [[nodiscard]] std::uint32_t field(netif::ring_field f) const
    {
        std::uint32_t value = 0;
        std::memcpy(&value, page.data() + static_cast<std::size_t>(f) * 4, sizeof value);
        return value;
    }
    void set(netif::ring_field f, std::uint32_t value)
    {
        std::memcpy(page.data() + static_cast<std::size_t>(f) * 4, &value, sizeof value);
    }
    [[nodiscard]] std::uint32_t handle(const netif::control_request& r, std::uint32_t& data)
    {
        namespace status = netif::control_status;
        constexpr std::uint32_t bad = status::invalid_parameter;
        switch (r.type) {
        case 1: // get hash flags
            data = toeplitz_ ? netif::hash_type::all : 0;
            return toeplitz_ ? status::success : status::not_supported;
        case 2: // set hash flags
            if (!toeplitz_ || r.data[0] > netif::hash_type::all) {
                return bad;
            }
            types_ = r.data[0];
            return status::success;
        case 3: { // set hash key
            const auto key = granted(r, 1, hash_config::max_key);
            if (key.size() == r.data[1]) {
                key_ = key;
            }
            return key.size() == r.data[1] ? status::success
                   : r.data[1] > 40        ? status::buffer_overflow
                                           : bad;
        }
        case 4: // get hash mapping size
            data = hash_config::max_mapping;
            return status::success;
        case 5: // set hash mapping size
            if (r.data[0] > hash_config::max_mapping) {
                return bad;
            }
            table_.assign(r.data[0], 0);
            return status::success;
        case 6: // set hash mapping
            return set_table(r);
        case 7: // set hash algorithm
            if (r.data[0] > 1) {
                return bad;
            }
            toeplitz_ = r.data[0] == 1;
            return status::success;
        default:
            return status::not_supported;
        }
    }
    [[nodiscard]] std::uint32_t set_table(const netif::control_request& r)
    {
        namespace status = netif::control_status;
        if (r.data[1] > hash_config::max_mapping) {
            return status::buffer_overflow;
        }
        const auto bytes = granted(r, 4, hash_config::max_mapping);
        std::vector<std::uint32_t> entries(bytes.size() / 4);
        if (!entries.empty()) {
            std::memcpy(entries.data(), bytes.data(), bytes.size());
        }
        const std::uint64_t end = std::uint64_t{r.data[2]} + r.data[1];
        if (entries.size() != r.data[1] || end > table_.size() ||
            std::ranges::any_of(entries, [](std::uint32_t q) { return q >= queues; })) {
            return status::invalid_parameter;
        }
        std::ranges::copy(entries, table_.begin() + static_cast<std::ptrdiff_t>(r.data[2]));
        return status::success;
    }
    // What the message's grant has; nothing if that is not read, or not to be had.
    [[nodiscard]] std::vector<std::byte> granted(const netif::control_request& r, std::size_t size,
                                                 std::uint32_t most)
    {
        if (r.data[1] == 0 || r.data[1] > most) {
            return {};
        }
        std::vector<std::byte> bytes;
        if (memory_.allows(r.data[0], false)) {
            const std::byte* const from = memory_.bytes(r.data[0] % fuzz::page_count);
            bytes.assign(from, from + r.data[1] * size);
        }
        if (meanwhile_) {
            guest_store{page.data(), meanwhile_->at, meanwhile_->value}.run();
            meanwhile_.reset();
        }
        return bytes;
    }

    const watched_grants& memory_;
    std::optional<guest_store> meanwhile_;
    std::uint32_t taken_;
    bool toeplitz_{false};
    std::uint32_t types_{0};
    std::vector<std::byte> key_;
    std::vector<std::uint32_t> table_;
};

struct machine {
    watched_grants memory;
    fuzz::page ring;
    dataplane::rcu_domain rcu;

    // Pages 0 to 3 are tables: of queues that there are, but for the last one's 128th entry.
    void reset()
    {
        memory.reset();
        memory.upon_copy.reset();
        for (std::uint32_t i = 0; i < 4; ++i) {
            for (std::uint32_t k = 0; k < hash_config::max_mapping; ++k) {
                const std::uint32_t q =
                    i == 3 && k == hash_config::max_mapping - 1 ? queues : (k * (i + 1)) % queues;
                std::memcpy(memory.bytes(i) + k * sizeof q, &q, sizeof q);
            }
        }
    }
};

// A packet's head of exact size, from what is behind the slots.
void hash_packet(const machine& m, std::uint16_t length, std::size_t from,
                 const hash_config* published, const account& expected)
{
    std::vector<std::byte> head(length);
    const std::byte* const at = m.ring.bytes.get() + behind_slots + from;
    std::memcpy(head.data(), at, length);
    dataplane::packet p{};
    p.data = head.data();
    p.head_length = length;
    p.length = length;
    const std::uint32_t own = flow_hash(p);
    if (published != nullptr) {
        const auto v = published->of(p);
        const auto again = expected.hash_of(p);
        check(v.hash == again.hash && v.type == again.type);
        check((v.type & (v.type - 1)) == 0 && expected.asks(v.type));
        check(published->queue(v, queues) == expected.queue(v.hash));
    }
    check(std::equal(head.begin(), head.end(), at) && flow_hash(p) == own);
}

// One more message, in place: the type, and numbers that suit one.
void put(std::byte* ring, std::uint8_t type, std::uint16_t value)
{
    std::uint32_t produced = 0;
    std::memcpy(&produced, ring, sizeof produced);
    const netif::control_request r{.id = static_cast<std::uint16_t>(produced),
                                   .type = static_cast<std::uint16_t>(type % 12),
                                   .data = {value & 31U,
                                            (value >> 5U & 15U) * (type >= 128 ? 1U : 10U),
                                            std::uint32_t{value} >> 9U}};
    std::memcpy(ring + netif::slots_offset + produced % slots * sizeof r, &r, sizeof r);
    ++produced;
    std::memcpy(ring, &produced, sizeof produced);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static machine& m = *new machine;
    if (size < 1) {
        return 0;
    }
    const std::size_t operations = std::min<std::size_t>(data[0] & 63U, (size - 1) / 4);
    const std::uint8_t* operation = data + 1;
    const std::uint8_t* const image = operation + 4 * operations;
    m.reset();
    std::byte* const ring = m.ring.bytes.get();
    std::memset(ring, 0, page_size);
    std::memcpy(ring, image, std::min(page_size, static_cast<std::size_t>(data + size - image)));

    ring_set rings;
    rings.guest = std::make_unique<guest>();
    rings.guest->hypervisor = &m.memory;
    rings.guest->domain = domain_id{fuzz::guest_domain};
    rings.sinks.resize(queues); // their number is all that is asked
    account expected{m.memory, ring};
    auto channel = std::make_unique<fuzz::quiet_channel>();
    const std::size_t& told = channel->told;
    std::string kept;
    control_ring control{std::make_unique<ring_mapping>(ring), std::move(channel), rings, m.rcu,
                         [&](const std::string& text) {
                             check(text != kept);
                             kept = text;
                             return true;
                         }};

    for (std::size_t i = 0; i < operations; ++i, operation += 4) {
        std::uint16_t value = 0;
        std::memcpy(&value, operation + 2, sizeof value);
        const std::size_t high = operation[0] >> 3U; // to 31
        const guest_store in_ring{ring, std::size_t{operation[1]} * 2 + high % 8 * 512, value};
        switch (operation[0] & 7U) {
        case 1:
            in_ring.run();
            guest_store{expected.page.data(), in_ring.at, value}.run();
            break;
        case 2:
            m.memory.upon_copy = in_ring;
            break;
        case 3:
            m.memory.toggle(operation[1]);
            break;
        case 4: // the part of a page that messages can have read
            guest_store{m.memory.bytes(high % fuzz::page_count), std::size_t{operation[1]} * 2,
                        value}
                .run();
            break;
        case 5:
            hash_packet(m, static_cast<std::uint16_t>(14 + operation[1] % 115), value % 1024,
                        rings.guest->hash, expected);
            break;
        case 6:
            put(ring, operation[1], value);
            put(expected.page.data(), operation[1], value);
            break;
        default: {
            const std::size_t before = told;
            const bool tell = expected.serve();
            const std::size_t calls = m.memory.calls;
            (void)control.serve();
            check(m.memory.calls - calls <= control_ring::budget);
            check(std::memcmp(expected.page.data(), ring, page_size) == 0);
            check(told - before == (tell ? 1U : 0U));
            check((control.fault() != nullptr) == expected.broken);
            expected.check_hash(rings.guest->hash);
            break;
        }
        }
    }
    if (!kept.empty()) { // another process has what this one had
        ring_set others;
        others.guest = std::make_unique<guest>();
        others.sinks.resize(queues);
        control_ring other{std::make_unique<ring_mapping>(ring),
                           std::make_unique<fuzz::quiet_channel>(), others, m.rcu};
        check(other.restore(kept));
        expected.check_hash(others.guest->hash);
        hash_packet(m, dataplane::head_copy, 0, others.guest->hash, expected);
        others.sinks.clear();
    }
    rings.sinks.clear();
    return 0;
}

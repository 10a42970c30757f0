// SPDX-License-Identifier: BSD-3-Clause
// Guest memory, the drivers of both ring kinds, and the worker's side.
#include "test_ring.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <system_error>
#include <unistd.h>

namespace strait::vhost::test {

namespace {

constexpr std::size_t guard = 64 * 1024;

[[noreturn]] void broken(const std::string& what)
{
    throw std::runtime_error{"the device broke the protocol: " + what};
}

std::vector<guest_range> one_region(std::uint64_t address, std::size_t size)
{
    return {{address, size}};
}

} // namespace

guest_ram::guest_ram(std::size_t size, std::uint64_t address) : guest_ram(one_region(address, size))
{}

guest_ram::guest_ram(std::span<const guest_range> regions) : ranges_(regions.begin(), regions.end())
{
    std::uint64_t total = 0;
    for (const guest_range& r : ranges_) {
        total += r.size;
    }
    fd_ = ::memfd_create("test-guest", MFD_CLOEXEC);
    if (fd_ < 0 || ::ftruncate(fd_, static_cast<off_t>(total)) != 0) {
        throw std::system_error{errno, std::generic_category(), "memfd"};
    }
    std::vector<guest_memory::mapping> mappings;
    std::uint64_t offset = 0;
    for (const guest_range& r : ranges_) {
        void* const room =
            ::mmap(nullptr, r.size + 2 * guard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (room == MAP_FAILED) {
            throw std::system_error{errno, std::generic_category(), "mmap"};
        }
        std::byte* const base = static_cast<std::byte*>(room) + guard;
        if (::mmap(base, r.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd_,
                   static_cast<off_t>(offset)) == MAP_FAILED) {
            throw std::system_error{errno, std::generic_category(), "mmap"};
        }
        bases_.push_back(base);
        mappings.push_back({r.address, r.size, base, base, r.size, 1});
        free_.emplace(r.address, r.size);
        offset += r.size;
    }
    memory_ = guest_memory::make(mappings).value();
}

guest_ram::~guest_ram()
{
    memory_.reset();
    for (std::size_t i = 0; i < bases_.size(); ++i) {
        ::munmap(bases_[i] - guard, ranges_[i].size + 2 * guard);
    }
    ::close(fd_);
}

std::byte* guest_ram::at(std::uint64_t address) const
{
    for (std::size_t i = 0; i < ranges_.size(); ++i) {
        if (address - ranges_[i].address < ranges_[i].size) {
            return bases_[i] + (address - ranges_[i].address);
        }
    }
    throw std::out_of_range{"no such guest address"};
}

void guest_ram::write(std::uint64_t address, std::span<const std::byte> from) const
{
    if (!from.empty()) {
        std::memcpy(at(address), from.data(), from.size());
    }
}

bytes guest_ram::read(std::uint64_t address, std::size_t size) const
{
    bytes out(size);
    if (size != 0) {
        std::memcpy(out.data(), at(address), size);
    }
    return out;
}

std::uint64_t guest_ram::allocate(std::size_t size, std::size_t alignment)
{
    size = std::max<std::size_t>(size, 1);
    for (auto it = free_.begin(); it != free_.end(); ++it) {
        const auto [begin, length] = *it;
        const std::uint64_t from = (begin + alignment - 1) / alignment * alignment;
        if (from - begin > length || length - (from - begin) < size) {
            continue;
        }
        free_.erase(it);
        if (from != begin) {
            free_.emplace(begin, from - begin);
        }
        if (from + size != begin + length) {
            free_.emplace(from + size, begin + length - from - size);
        }
        taken_.emplace(from, size);
        return from;
    }
    throw std::bad_alloc{};
}

void guest_ram::free(std::uint64_t address)
{
    const auto found = taken_.find(address);
    if (found == taken_.end()) {
        throw std::logic_error{"freed what was not allocated"};
    }
    auto [begin, size] = *found;
    taken_.erase(found);
    // Regions never touch in these tests, so joining by address is joining within one.
    auto next = free_.lower_bound(begin);
    if (next != free_.end() && next->first == begin + size) {
        size += next->second;
        next = free_.erase(next);
    }
    if (next != free_.begin()) {
        const auto previous = std::prev(next);
        if (previous->first + previous->second == begin) {
            previous->second += size;
            return;
        }
    }
    free_.emplace(begin, size);
}

bytes guest_ram::image() const
{
    bytes all;
    for (std::size_t i = 0; i < ranges_.size(); ++i) {
        all.insert(all.end(), bases_[i], bases_[i] + ranges_[i].size);
    }
    return all;
}

std::optional<std::uint64_t> guest_ram::changed_outside(const bytes& before,
                                                        std::span<const guest_range> allowed) const
{
    // The allowed ranges, joined, so that a lookup is one search.
    std::map<std::uint64_t, std::uint64_t> ends; // begin to end
    std::vector<guest_range> sorted(allowed.begin(), allowed.end());
    std::ranges::sort(sorted, {}, &guest_range::address);
    for (const guest_range& r : sorted) {
        const std::uint64_t end = r.address + r.size < r.address ? UINT64_MAX : r.address + r.size;
        if (!ends.empty() && r.address <= ends.rbegin()->second) {
            ends.rbegin()->second = std::max(ends.rbegin()->second, end);
        } else {
            ends.emplace(r.address, end);
        }
    }
    std::size_t offset = 0;
    for (std::size_t i = 0; i < ranges_.size(); ++i) {
        const std::span<const std::byte> old{before.data() + offset, ranges_[i].size};
        const std::span<const std::byte> now{bases_[i], ranges_[i].size};
        std::size_t at = 0;
        while (true) {
            const auto [a, b] =
                std::mismatch(old.begin() + static_cast<std::ptrdiff_t>(at), old.end(),
                              now.begin() + static_cast<std::ptrdiff_t>(at));
            if (a == old.end()) {
                break;
            }
            const std::uint64_t address =
                ranges_[i].address + static_cast<std::uint64_t>(a - old.begin());
            auto range = ends.upper_bound(address);
            if (range == ends.begin() || std::prev(range)->second <= address) {
                return address;
            }
            at = static_cast<std::size_t>(a - old.begin()) + 1;
        }
        offset += ranges_[i].size;
    }
    return std::nullopt;
}

driver::driver(guest_ram& ram, const ring_options& options)
    : ram_{ram},
      options_{options},
      call_fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)},
      kick_fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)}
{
    if (call_fd_ < 0 || kick_fd_ < 0) {
        throw std::system_error{errno, std::generic_category(), "eventfd"};
    }
    for (std::uint32_t i = 0; i < options.size; ++i) {
        free_.push_back(static_cast<std::uint16_t>(i));
    }
}

driver::~driver()
{
    ::close(call_fd_);
    ::close(kick_fd_);
    for (auto& [id, c] : in_flight_) {
        if (c.indirect != 0) {
            ram_.free(c.indirect);
        }
    }
    for (const guest_range& r : places_) {
        ram_.free(r.address);
    }
}

std::uint64_t driver::interrupts() const
{
    std::uint64_t count = 0;
    return ::read(call_fd_, &count, sizeof count) == sizeof count ? count : 0;
}

void driver::publish()
{
    show();
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (device_wants_kick()) {
        ++kicks_;
        ::eventfd_write(kick_fd_, 1);
    }
}

std::uint16_t driver::take_free()
{
    std::size_t index = 0;
    if (options_.shuffle != nullptr) {
        index = pick(*options_.shuffle, 0, free_.size() - 1);
    }
    const std::uint16_t id = free_[index];
    free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(index));
    return id;
}

void driver::leave_order(std::uint16_t id)
{
    if (order_.front() == id) {
        order_.pop_front();
    } else {
        std::erase(order_, id);
    }
}

void driver::release(chain& c)
{
    if (c.indirect != 0) {
        ram_.free(c.indirect);
    }
}

ring_setup driver::setup(ring_position* saved) const
{
    ring_setup s;
    s.features = options_.all_features();
    s.size = options_.size;
    s.start = options_.start;
    s.call_fd = call_fd_;
    s.kick_fd = kick_fd_;
    s.memory = &ram_.memory();
    s.saved = saved;
    void* const descriptors = ram_.at(places_[0].address);
    std::byte* const driver_area = ram_.at(places_[1].address);
    std::byte* const device_area = ram_.at(places_[2].address);
    if (options_.packed) {
        s.packed_descriptors = dataplane::guest_array<packed_descriptor>{descriptors};
        s.driver_event = dataplane::guest_array<std::uint16_t>{driver_area};
        s.device_event = dataplane::guest_array<std::uint16_t>{device_area};
    } else {
        s.split_descriptors = dataplane::guest_array<split_descriptor>{descriptors};
        s.available = dataplane::guest_array<std::uint16_t>{driver_area};
        s.used = dataplane::guest_array<std::uint16_t>{device_area};
        s.used_ring = dataplane::guest_array<used_element>{device_area + 4};
        s.available_event =
            dataplane::guest_array<std::uint16_t>{device_area + 4 + std::size_t{8} * options_.size};
    }
    return s;
}

namespace {

class split_driver final : public driver {
public:
    split_driver(guest_ram& ram, const ring_options& options) : driver{ram, options}
    {
        const std::size_t n = options.size;
        places_ = {guest_range{ram.allocate(16 * n, 16), 16 * n},
                   guest_range{ram.allocate(6 + 2 * n, 2), 6 + 2 * n},
                   guest_range{ram.allocate(6 + 8 * n, 4), 6 + 8 * n}};
        for (const guest_range& p : places_) {
            std::memset(ram.at(p.address), 0, p.size);
        }
        available_ = used_ = asked_at_ = options.start.next;
        available_word(1) = available_;
        used_word(1) = used_;
    }

    using driver::add;
    bool add(std::span<const buffer> list, std::size_t token, bool indirect) override
    {
        if (list.empty() || free_.size() < (indirect ? 1 : list.size())) {
            return false;
        }
        chain c;
        c.token = token;
        const auto flags_of = [](const buffer& b, bool more) {
            return static_cast<std::uint16_t>((b.writable ? descriptor_flag::write : 0) |
                                              (more ? descriptor_flag::next : 0));
        };
        if (indirect) {
            c.indirect = ram_.allocate(16 * list.size(), 16);
            // The table's chain need not be in the table's order: every other driver is lazy.
            std::vector<std::uint16_t> order(list.size());
            for (std::size_t i = 0; i < order.size(); ++i) {
                order[i] = static_cast<std::uint16_t>(i);
            }
            if (options_.shuffle != nullptr) {
                std::shuffle(order.begin() + 1, order.end(), *options_.shuffle);
            }
            for (std::size_t i = 0; i < list.size(); ++i) {
                const bool more = i + 1 < list.size();
                ram_.as<split_descriptor>(c.indirect + std::size_t{16} * order[i]) = {
                    list[i].address, list[i].length, flags_of(list[i], more),
                    more ? order[i + 1] : std::uint16_t{0}};
            }
            c.descriptors.push_back(take_free());
            descriptor(c.descriptors[0]) = {c.indirect,
                                            static_cast<std::uint32_t>(16 * list.size()),
                                            descriptor_flag::indirect, 0};
        } else {
            for (std::size_t i = 0; i < list.size(); ++i) {
                c.descriptors.push_back(take_free());
            }
            for (std::size_t i = 0; i < list.size(); ++i) {
                const bool more = i + 1 < list.size();
                descriptor(c.descriptors[i]) = {list[i].address, list[i].length,
                                                flags_of(list[i], more),
                                                more ? c.descriptors[i + 1] : std::uint16_t{0}};
            }
        }
        const std::uint16_t head = c.descriptors[0];
        available_word(2 + available_ % options_.size) = head;
        ++available_;
        order_.push_back(head);
        in_flight_.emplace(head, std::move(c));
        return true;
    }

    void show() override { __atomic_store_n(&available_word(1), available_, __ATOMIC_RELEASE); }

    std::vector<returned> collect() override
    {
        std::vector<returned> all;
        const std::uint16_t end = __atomic_load_n(&used_word(1), __ATOMIC_ACQUIRE);
        if (static_cast<std::uint16_t>(end - used_) > in_flight_.size()) {
            broken("it returned more chains than it was given");
        }
        while (used_ != end) {
            const used_element e = ram_.as<used_element>(places_[2].address + 4 +
                                                         std::size_t{8} * (used_ % options_.size));
            if (e.id >= options_.size) {
                broken("a used entry names a descriptor beyond the ring");
            }
            const auto id = static_cast<std::uint16_t>(e.id);
            const auto found = in_flight_.find(id);
            if (found == in_flight_.end()) {
                broken("it returned a chain that it did not have");
            }
            if (options_.has(feature::in_order) && id != order_.front()) {
                broken("it returned chains in another order");
            }
            leave_order(id);
            all.push_back({found->second.token, e.length});
            for (const std::uint16_t d : found->second.descriptors) {
                free_.push_back(d);
            }
            release(found->second);
            in_flight_.erase(found);
            ++used_;
            ++progress_;
        }
        return all;
    }

    void want_interrupts(bool yes) override { available_word(0) = yes ? 0 : no_interrupt; }
    void want_interrupt_at(std::size_t distance) override
    {
        used_event() = static_cast<std::uint16_t>(used_ + distance);
    }
    [[nodiscard]] std::size_t progress() const noexcept override { return progress_; }
    [[nodiscard]] bool device_wants_kick() override
    {
        const std::uint16_t before = std::exchange(asked_at_, available_);
        if (options_.has(feature::event_index)) {
            const auto event =
                ram_.as<std::uint16_t>(places_[2].address + 4 + std::size_t{8} * options_.size);
            return static_cast<std::uint16_t>(available_ - event - 1) <
                   static_cast<std::uint16_t>(available_ - before);
        }
        return (used_word(0) & no_notify) == 0;
    }
    [[nodiscard]] ring_index position() const noexcept override { return {used_, true}; }
    [[nodiscard]] std::vector<guest_range> device_writes() const override { return {places_[2]}; }

private:
    [[nodiscard]] split_descriptor& descriptor(std::size_t i) const
    {
        return ram_.as<split_descriptor>(places_[0].address + 16 * i);
    }
    [[nodiscard]] std::uint16_t& available_word(std::size_t i) const
    {
        return ram_.as<std::uint16_t>(places_[1].address + 2 * i);
    }
    [[nodiscard]] std::uint16_t& used_word(std::size_t i) const
    {
        return ram_.as<std::uint16_t>(places_[2].address + 2 * i);
    }
    [[nodiscard]] std::uint16_t& used_event() const
    {
        return available_word(2 + std::size_t{options_.size});
    }

    std::uint16_t available_;
    std::uint16_t asked_at_; // the available index at the last kick, or not
    std::uint16_t used_;
    std::size_t progress_{0};
};

class packed_driver final : public driver {
public:
    packed_driver(guest_ram& ram, const ring_options& options) : driver{ram, options}
    {
        const std::size_t n = options.size;
        places_ = {guest_range{ram.allocate(16 * n, 16), 16 * n},
                   guest_range{ram.allocate(4, 4), 4}, guest_range{ram.allocate(4, 4), 4}};
        for (const guest_range& p : places_) {
            std::memset(ram.at(p.address), 0, p.size);
        }
        available_ = used_ = options.start;
        room_ = options.size;
        // A ring that was at work already: what lies behind and ahead was used in its laps.
        for (std::size_t i = 0; i < n; ++i) {
            const bool lap = i < options.start.next ? options.start.wrap : !options.start.wrap;
            descriptor(i).flags =
                lap ? descriptor_flag::available | descriptor_flag::used : std::uint16_t{0};
        }
    }

    using driver::add;
    bool add(std::span<const buffer> list, std::size_t token, bool indirect) override
    {
        const std::size_t slots = indirect ? 1 : list.size();
        if (list.empty() || free_.empty() || room_ < slots) {
            return false;
        }
        chain c;
        c.token = token;
        c.descriptors.resize(slots);
        const std::uint16_t id = take_free();
        room_ -= slots;
        const ring_index head = available_;
        std::uint16_t head_flags = 0;
        if (indirect) {
            c.indirect = ram_.allocate(16 * list.size(), 16);
            for (std::size_t i = 0; i < list.size(); ++i) {
                ram_.as<packed_descriptor>(c.indirect + 16 * i) = {
                    list[i].address, list[i].length, 0,
                    list[i].writable ? descriptor_flag::write : std::uint16_t{0}};
            }
            descriptor(head.next) = {c.indirect, static_cast<std::uint32_t>(16 * list.size()), id,
                                     descriptor(head.next).flags};
            head_flags = descriptor_flag::indirect | lap_flags(head.wrap);
            advance(available_, 1);
        } else {
            for (std::size_t i = 0; i < list.size(); ++i) {
                const auto flags = static_cast<std::uint16_t>(
                    (list[i].writable ? descriptor_flag::write : 0) |
                    (i + 1 < list.size() ? descriptor_flag::next : 0) | lap_flags(available_.wrap));
                packed_descriptor& d = descriptor(available_.next);
                const std::uint16_t old = d.flags;
                // Only the last descriptor's identifier counts; the others' are noise.
                d = {list[i].address, list[i].length,
                     i + 1 == list.size() ? id : std::uint16_t{0xdead}, i == 0 ? old : flags};
                if (i == 0) {
                    head_flags = flags;
                }
                advance(available_, 1);
            }
        }
        __atomic_store_n(&descriptor(head.next).flags, head_flags, __ATOMIC_RELEASE);
        order_.push_back(id);
        in_flight_.emplace(id, std::move(c));
        return true;
    }

    void show() override {} // each chain is there from its head's flags on

    std::vector<returned> collect() override
    {
        std::vector<returned> all;
        while (true) {
            const std::uint16_t flags =
                __atomic_load_n(&descriptor(used_.next).flags, __ATOMIC_ACQUIRE);
            if (((flags & descriptor_flag::available) != 0) != used_.wrap ||
                ((flags & descriptor_flag::used) != 0) != used_.wrap) {
                return all;
            }
            const packed_descriptor d = descriptor(used_.next);
            if (!in_flight_.contains(d.id)) {
                broken("it returned a chain that it did not have");
            }
            if (options_.has(feature::in_order)) {
                // One used descriptor may stand for all chains up to its own.
                while (order_.front() != d.id) {
                    take_back(order_.front(), 0, all);
                }
            }
            take_back(d.id, (flags & descriptor_flag::write) != 0 ? d.length : 0, all);
        }
    }

    void want_interrupts(bool yes) override
    {
        driver_event(1) = yes ? event::enable : event::disable;
    }
    void want_interrupt_at(std::size_t distance) override
    {
        ring_index at = used_;
        advance(at, distance);
        driver_event(0) = static_cast<std::uint16_t>(at.next | (at.wrap ? 0x8000U : 0U));
        driver_event(1) = event::descriptor;
    }
    [[nodiscard]] std::size_t progress() const noexcept override { return progress_; }
    [[nodiscard]] bool device_wants_kick() override
    {
        return ram_.as<std::uint16_t>(places_[2].address + 2) != event::disable;
    }
    [[nodiscard]] ring_index position() const noexcept override { return used_; }
    [[nodiscard]] std::vector<guest_range> device_writes() const override
    {
        return {places_[0], places_[2]};
    }

private:
    void take_back(std::uint16_t id, std::uint32_t length, std::vector<returned>& all)
    {
        const auto found = in_flight_.find(id);
        chain& c = found->second;
        all.push_back({c.token, length});
        // What the device left as it was becomes used, as a driver that clears what it frees does.
        ring_index at = used_;
        for (std::size_t i = 0; i < c.descriptors.size(); ++i) {
            descriptor(at.next).flags =
                at.wrap ? descriptor_flag::available | descriptor_flag::used : std::uint16_t{0};
            advance(at, 1);
        }
        used_ = at;
        progress_ += c.descriptors.size();
        room_ += c.descriptors.size();
        free_.push_back(id);
        leave_order(id);
        release(c);
        in_flight_.erase(found);
    }
    void advance(ring_index& at, std::size_t n) const noexcept
    {
        for (; n > 0; --n) {
            if (++at.next == options_.size) {
                at.next = 0;
                at.wrap = !at.wrap;
            }
        }
    }
    [[nodiscard]] static std::uint16_t lap_flags(bool wrap) noexcept
    {
        return wrap ? descriptor_flag::available : descriptor_flag::used;
    }
    [[nodiscard]] packed_descriptor& descriptor(std::size_t i) const
    {
        return ram_.as<packed_descriptor>(places_[0].address + 16 * i);
    }
    [[nodiscard]] std::uint16_t& driver_event(std::size_t i) const
    {
        return ram_.as<std::uint16_t>(places_[1].address + 2 * i);
    }

    ring_index available_;
    ring_index used_;
    std::size_t room_;
    std::size_t progress_{0};
};

} // namespace

std::unique_ptr<driver> make_driver(guest_ram& ram, const ring_options& options)
{
    if (options.packed) {
        return std::make_unique<packed_driver>(ram, options);
    }
    return std::make_unique<split_driver>(ram, options);
}

worker_side::worker_side()
    : burst_{std::make_unique<dataplane::burst>()},
      counters_{std::make_unique<dataplane::port_counters>()}
{}

ports::rx_queue::poll worker_side::poll(source& s)
{
    now_ += std::uint64_t{1} << 22;
    burst_->clear();
    return s.receive(*burst_, context());
}

std::vector<bytes> worker_side::take(source& s)
{
    std::vector<bytes> frames;
    if (poll(s) == ports::rx_queue::poll::taken) {
        for (const dataplane::packet_slot& p : burst_->packets()) {
            frames.push_back(frame_of(p));
        }
        release(s);
    }
    return frames;
}

void worker_side::release(source& s)
{
    s.release(context());
    notifications_.flush();
}

void worker_side::send(sink& s, std::span<dataplane::packet* const> packets)
{
    now_ += 1000;
    // With the hints that transmit() may have been preceded by, one or both, right or wrong.
#ifdef STRAIT_MUTATE_GUEST
    const unsigned hints = 0; // what a hint reads is not relied on; here it would change for good
#else
    const unsigned hints = sends_ % 4;
#endif
    ++sends_;
    if (hints > 0) {
        s.prefetch_ring(packets.size());
    }
    if (hints > 1) {
        s.prefetch_buffers(hints == 2 ? packets.size() : dataplane::burst::capacity);
    }
    s.transmit(packets, context());
    notifications_.flush();
}

std::uint64_t worker_side::drops(dataplane::drop_reason reason) const noexcept
{
    return counters_->drops[static_cast<std::size_t>(reason)].read();
}

std::uint64_t worker_side::drops() const noexcept
{
    std::uint64_t sum = 0;
    for (const dataplane::counter& c : counters_->drops) {
        sum += c.read();
    }
    return sum;
}

test_packet::test_packet(bytes frame, std::size_t head, std::size_t piece)
    : frame_{std::move(frame)}, slot_{std::make_unique<dataplane::packet_slot>()}
{
    dataplane::packet_slot& p = *slot_;
    head = std::min({head, frame_.size(), dataplane::head_copy});
    p.data = p.head.data();
    p.length = static_cast<std::uint32_t>(frame_.size());
    p.head_length = static_cast<std::uint16_t>(head);
    p.mbuf = nullptr;
    p.remote = nullptr;
    p.offload = {};
    p.destinations = 1;
    std::memcpy(p.data, frame_.data(), head);
    for (std::size_t at = head; at < frame_.size();) {
        const std::size_t size = std::min(piece, frame_.size() - at);
        pieces_.push_back(std::make_unique<std::byte[]>(size));
        std::memcpy(pieces_.back().get(), frame_.data() + at, size);
        segments_.emplace_back(pieces_.back().get(), size);
        at += size;
    }
    p.segments = segments_.data();
    p.segment_count = static_cast<std::uint16_t>(segments_.size());
}

std::string kind_name(const testing::TestParamInfo<bool>& param)
{
    return param.param ? "packed" : "split";
}

bytes frame_of(const dataplane::packet& p)
{
    bytes out(p.length);
    dataplane::copy_frame(p, 0, out.data(), out.size());
    return out;
}

bytes random_bytes(std::mt19937_64& random, std::size_t size)
{
    bytes out(size);
    for (std::size_t i = 0; i < size; i += 8) {
        const std::uint64_t word = random();
        std::memcpy(out.data() + i, &word, std::min<std::size_t>(8, size - i));
    }
    return out;
}

std::size_t pick(std::mt19937_64& random, std::size_t low, std::size_t high)
{
    return std::uniform_int_distribution<std::size_t>{low, high}(random);
}

} // namespace strait::vhost::test

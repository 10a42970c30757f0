// SPDX-License-Identifier: BSD-3-Clause
// Copies between granted pages, and what the control side arranges for them.
#include "ports/xen-netback/simulated/simulated_hypervisor.hh"

#include <algorithm>
#include <thread>
#include <utility>

#include <x86intrin.h>

namespace strait::xen::simulated {

using dataplane::guest_span;
using dataplane::remote_copy;
using wire::request;
using wire::writer;

namespace {

constexpr std::uint64_t batch = 16; // operations of a hypercall, as Linux's gntdev batches them

void spin(std::uint64_t cycles) noexcept
{
    for (const auto start = __rdtsc(); __rdtsc() - start < cycles;) {
        __builtin_ia32_pause();
    }
}

void spin(std::chrono::microseconds time) noexcept
{
    const auto until = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < until) {
        __builtin_ia32_pause();
    }
}

std::uint64_t pages_of(const void* at, std::uint64_t size) noexcept
{
    return (reinterpret_cast<std::uintptr_t>(at) % page_size + size + page_size - 1) / page_size;
}

// Linux splits a piece where its local side crosses a page.
std::uint64_t operations_of(const remote_copy& piece) noexcept
{
    if (piece.size() == 0) {
        return 0;
    }
    if ((piece.flags() & remote_copy::source_granted) == 0) {
        return pages_of(piece.source().local, piece.size());
    }
    if ((piece.flags() & remote_copy::target_granted) == 0) {
        return pages_of(piece.target().local, piece.size());
    }
    return 1;
}

class mapping final : public mapped_grants {
public:
    mapping(std::shared_ptr<client> c, page_mapping pages, std::uint32_t identity)
        : client_{std::move(c)}, pages_{std::in_place, std::move(pages)}, identity_{identity}
    {}
    ~mapping() override
    {
        pages_.reset(); // first of all: what is given back must not be in use
        writer w;
        w.add(request::unmap).add(identity_);
        (void)client_->ask(w);
    }
    mapping(const mapping&) = delete;
    mapping& operator=(const mapping&) = delete;
    [[nodiscard]] void* base() const noexcept override { return pages_->base(); }

private:
    std::shared_ptr<client> client_;
    std::optional<page_mapping> pages_;
    std::uint32_t identity_;
};

// One side of a piece while it is copied. Each step is a check that may fail, in Xen's order.
class side {
public:
    side(const remote_copy::side& s, bool granted) noexcept : granted_{granted}
    {
        if (granted) {
            grant_ = s.granted;
        }
    }
    side(const side&) = delete;
    side& operator=(const side&) = delete;
    ~side()
    {
        if (claimed_) {
            memory_->release(grant_.reference);
        }
    }
    // Linux's, before it asks Xen.
    [[nodiscard]] bool fits(std::uint16_t size) const noexcept
    {
        return !granted_ || std::uint32_t{grant_.offset} + size <= page_size;
    }
    [[nodiscard]] bool find_domain(const std::atomic<const domain_memory*>* memory,
                                   std::size_t domains) noexcept
    {
        if (granted_ && grant_.owner < domains) {
            memory_ = memory[grant_.owner].load(std::memory_order_seq_cst);
        }
        return !granted_ || (memory_ != nullptr && memory_->alive());
    }
    [[nodiscard]] grant_status claim(domain_id self, bool write, std::uint16_t size) noexcept
    {
        if (!granted_) {
            return grant_status::done;
        }
        const auto claimed = memory_->claim(self, grant_.reference, write);
        claimed_ = claimed.status == grant_status::done;
        if (claimed_) {
            span_ = memory_->page(claimed.frame).subspan(grant_.offset, size);
        }
        return claimed.status;
    }
    [[nodiscard]] const guest_span& span() const noexcept { return span_; }

private:
    bool granted_;
    bool claimed_{false};
    decltype(remote_copy::side::granted) grant_{};
    const domain_memory* memory_{nullptr};
    guest_span span_;
};

} // namespace

// From its construction to its end, nothing that it finds is freed.
class simulated_hypervisor::copying {
public:
    copying(slot& s, const std::atomic<unsigned>& turn) noexcept
        : inside_{s.inside[turn.load(std::memory_order_relaxed) & 1U]}
    {
        inside_.fetch_add(1, std::memory_order_seq_cst);
    }
    ~copying() { inside_.fetch_sub(1, std::memory_order_release); }
    copying(const copying&) = delete;
    copying& operator=(const copying&) = delete;

private:
    std::atomic<std::uint32_t>& inside_;
};

simulated_hypervisor::simulated_hypervisor(std::shared_ptr<client> c)
    : client_{std::move(c)},
      store_{client_},
      memory_{std::make_unique<std::atomic<const domain_memory*>[]>(domains)}
{
    client_->on_faults([this](const faults& f) {
        server_faults_ = f;
        publish_peculiarities();
    });
}

simulated_hypervisor::~simulated_hypervisor()
{
    client_->on_faults([](const faults&) {});
}

result<std::unique_ptr<simulated_hypervisor>>
simulated_hypervisor::connect(const std::string& socket, domain_id own)
{
    auto c = client::connect(socket, {own});
    if (c.has_error()) {
        return c.error();
    }
    return std::unique_ptr<simulated_hypervisor>{new simulated_hypervisor{std::move(c).value()}};
}

auto simulated_hypervisor::own_slot() noexcept -> slot&
{
    static std::atomic<std::size_t> threads{0};
    thread_local const std::size_t mine = threads.fetch_add(1, std::memory_order_relaxed) % slots;
    return slots_[mine];
}

auto simulated_hypervisor::copy_piece(const remote_copy& piece) const noexcept -> status
{
    const std::uint16_t size = piece.size();
    const bool from_grant = (piece.flags() & remote_copy::source_granted) != 0;
    const bool to_grant = (piece.flags() & remote_copy::target_granted) != 0;
    side from{piece.source(), from_grant};
    side to{piece.target(), to_grant};
    if ((!from_grant && !to_grant) || !from.fits(size) || !to.fits(size)) {
        return status::bad_argument;
    }
    if (size == 0) {
        return status::done; // Linux does not even ask Xen
    }
    if (!from.find_domain(memory_.get(), domains) || !to.find_domain(memory_.get(), domains)) {
        return status::bad_domain;
    }
    const domain_id self = client_->own_domain();
    if (const auto s = from.claim(self, false, size); s != status::done) {
        return s;
    }
    if (const auto s = to.claim(self, true, size); s != status::done) {
        return s;
    }
    if (!from_grant) {
        to.span().copy_in(piece.source().local, 0, size);
    } else if (!to_grant) {
        from.span().copy_out(piece.target().local, 0, size);
    } else {
        guest_span::copy(to.span(), 0, from.span(), 0, size);
    }
    return status::done;
}

auto simulated_hypervisor::copy_peculiarly(const remote_copy& piece,
                                           const peculiarities& p) const noexcept -> status
{
    spin(p.costs.piece);
    std::array<fault_plan::target, 2> targets{};
    std::size_t count = 0;
    const auto add = [&](const remote_copy::side& s) {
        targets[count++] = {domain_id{s.granted.owner}, s.granted.reference};
    };
    if ((piece.flags() & remote_copy::source_granted) != 0) {
        add(piece.source());
    }
    if ((piece.flags() & remote_copy::target_granted) != 0) {
        add(piece.target());
    }
    const fault_rule* rule = nullptr;
    for (const auto* const plan : {&p.own, &p.server}) {
        if (rule == nullptr && *plan) {
            rule = (*plan)->strike(operation::copy, std::span{targets}.first(count));
        }
    }
    if (rule == nullptr) {
        return copy_piece(piece);
    }
    const auto said = rule->status == status::done ? status::general_error : rule->status;
    switch (rule->what) {
    case effect::fail:
        return said;
    case effect::pretend:
        return status::done;
    case effect::deny:
        (void)copy_piece(piece);
        return said;
    case effect::delay:
        spin(rule->delay);
        break;
    }
    return copy_piece(piece);
}

void simulated_hypervisor::copy(std::span<remote_copy> pieces) noexcept
{
    slot& s = own_slot();
    const copying section{s, turn_};
    const peculiarities* const peculiar = peculiar_.load(std::memory_order_seq_cst);
    std::uint64_t bytes = 0;
    std::uint64_t failed = 0;
    std::uint64_t operations = 0;
    for (auto& piece : pieces) {
        const auto done =
            peculiar == nullptr ? copy_piece(piece) : copy_peculiarly(piece, *peculiar);
        piece.set_result(done);
        if (done == status::done) {
            bytes += piece.size();
        } else {
            ++failed;
        }
        operations += operations_of(piece);
    }
    const std::uint64_t hypercalls = (operations + batch - 1) / batch;
    if (peculiar != nullptr) {
        spin(peculiar->costs.hypercall * hypercalls);
    }
    s.calls.fetch_add(1, std::memory_order_relaxed);
    s.pieces.fetch_add(pieces.size(), std::memory_order_relaxed);
    s.bytes.fetch_add(bytes, std::memory_order_relaxed);
    s.hypercalls.fetch_add(hypercalls, std::memory_order_relaxed);
    if (failed != 0) {
        s.failed.fetch_add(failed, std::memory_order_relaxed);
    }
}

hypervisor_counts simulated_hypervisor::counts() const noexcept
{
    hypervisor_counts sum;
    for (const auto& s : slots_) {
        sum.calls += s.calls.load(std::memory_order_relaxed);
        sum.pieces += s.pieces.load(std::memory_order_relaxed);
        sum.failed += s.failed.load(std::memory_order_relaxed);
        sum.bytes += s.bytes.load(std::memory_order_relaxed);
        sum.hypercalls += s.hypercalls.load(std::memory_order_relaxed);
    }
    sum.notifications = notifications_.load(std::memory_order_relaxed);
    return sum;
}

void simulated_hypervisor::wait_for_copies() noexcept
{
    // Twice: a thread may have read the turn long before it enters under it.
    for (int i = 0; i < 2; ++i) {
        const unsigned before = turn_.fetch_add(1, std::memory_order_seq_cst) & 1U;
        for (const auto& s : slots_) {
            while (s.inside[before].load(std::memory_order_seq_cst) != 0) {
                std::this_thread::yield();
            }
        }
    }
}

void simulated_hypervisor::publish_peculiarities()
{
    auto next = std::make_unique<peculiarities>();
    next->costs = costs_;
    const auto plan_of = [](const faults& f) {
        return f.rules.empty() ? nullptr : std::make_unique<fault_plan>(f);
    };
    next->own = plan_of(own_faults_);
    next->server = plan_of(server_faults_);
    const bool any = next->own || next->server || costs_.hypercall != 0 || costs_.piece != 0;
    if (!any && !kept_) {
        return;
    }
    peculiar_.store(any ? next.get() : nullptr, std::memory_order_seq_cst);
    wait_for_copies();
    kept_ = any ? std::move(next) : nullptr;
}

void simulated_hypervisor::set_faults(const faults& f)
{
    own_faults_ = f;
    publish_peculiarities();
}

void simulated_hypervisor::set_costs(hypervisor_costs c)
{
    costs_ = c;
    publish_peculiarities();
}

result<std::chrono::microseconds>
simulated_hypervisor::strike(operation on, domain_id d, std::span<const std::uint32_t> references)
{
    if (kept_ && kept_->own) {
        std::vector<fault_plan::target> targets;
        for (const std::uint32_t r : references) {
            targets.push_back({d, r});
        }
        if (const fault_rule* const rule = kept_->own->strike(on, targets)) {
            if (rule->what == effect::delay) {
                return rule->delay;
            }
            return error{"the operation fails by configuration: " + to_string(rule->status)};
        }
    }
    return std::chrono::microseconds{0};
}

result<void> simulated_hypervisor::attach(domain_id domain)
{
    const auto known = attached_.find(domain);
    if (known != attached_.end() && known->second->alive()) {
        return {};
    }
    std::vector<std::unique_ptr<domain_memory>> gone;
    for (auto at = attached_.begin(); at != attached_.end();) {
        if (at->second->alive()) {
            ++at;
            continue;
        }
        memory_[static_cast<std::uint16_t>(at->first)].store(nullptr, std::memory_order_seq_cst);
        gone.push_back(std::move(at->second));
        at = attached_.erase(at);
    }
    if (!gone.empty()) {
        wait_for_copies();
        gone.clear();
    }
    if (static_cast<std::uint16_t>(domain) >= domains) {
        return error{"domain " + std::to_string(static_cast<unsigned>(domain)) +
                     " cannot be: the number is reserved"};
    }
    auto memory = client_->memory(domain);
    if (memory.has_error()) {
        return memory.error();
    }
    auto kept = std::make_unique<domain_memory>(std::move(memory).value());
    memory_[static_cast<std::uint16_t>(domain)].store(kept.get(), std::memory_order_release);
    attached_.emplace(domain, std::move(kept));
    return {};
}

result<std::unique_ptr<mapped_grants>> simulated_hypervisor::map(domain_id domain,
                                                                 std::span<const grant_ref> pages)
{
    if (pages.empty() || pages.size() > wire::most_mapped) {
        return error{"1 to " + std::to_string(wire::most_mapped) +
                     " pages can be mapped together, not " + std::to_string(pages.size())};
    }
    if (auto attached = attach(domain); attached.has_error()) {
        return attached.error();
    }
    writer w;
    w.add(request::map).add(domain).add(static_cast<std::uint32_t>(pages.size()));
    std::vector<std::uint32_t> references;
    for (const grant_ref r : pages) {
        references.push_back(static_cast<std::uint32_t>(r));
        w.add(r);
    }
    const auto delay = strike(operation::map, domain, references);
    if (delay.has_error()) {
        return delay.error();
    }
    auto a = client_->ask(w);
    if (a.code != 0) {
        return error{a.why};
    }
    const auto identity = a.fields.number<std::uint32_t>();
    const std::chrono::microseconds more{a.fields.number<std::uint64_t>()};
    std::vector<std::uint32_t> frames(pages.size());
    for (auto& f : frames) {
        f = a.fields.number<std::uint32_t>();
    }
    std::this_thread::sleep_for(*delay + more);
    const domain_memory& memory = *attached_.at(domain);
    // If it is alive now, it was this one, and no later one of its number, that the server looked
    // at.
    auto mapped =
        memory.alive()
            ? page_mapping::make(memory, frames)
            : result<page_mapping>{error{"domain " + std::to_string(static_cast<unsigned>(domain)) +
                                         " ended while its grants were mapped"}};
    if (mapped.has_error()) {
        writer back;
        back.add(request::unmap).add(identity);
        (void)client_->ask(back);
        return mapped.error();
    }
    return std::make_unique<mapping>(client_, std::move(mapped).value(), identity);
}

result<std::unique_ptr<event_channel>> simulated_hypervisor::bind(domain_id domain, event_port port)
{
    if (auto attached = attach(domain); attached.has_error()) {
        return attached.error();
    }
    const auto number = static_cast<std::uint32_t>(port);
    const auto delay = strike(operation::bind, domain, {&number, 1});
    if (delay.has_error()) {
        return delay.error();
    }
    writer w;
    w.add(request::bind).add(domain).add(port);
    auto a = client_->ask(w);
    if (a.code != 0) {
        return error{a.why};
    }
    writer goodbye;
    goodbye.add(request::unbind).add(a.fields.number<std::uint32_t>());
    std::this_thread::sleep_for(*delay +
                                std::chrono::microseconds{a.fields.number<std::uint64_t>()});
    return std::make_unique<channel_end>(client_, std::move(a.descriptors[0]),
                                         std::move(a.descriptors[1]), std::move(goodbye),
                                         &notifications_);
}

} // namespace strait::xen::simulated

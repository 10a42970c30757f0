// SPDX-License-Identifier: BSD-3-Clause
// The poll loop, delivery by destination, and hand-over between workers.
#include "dataplane/worker.hh"

#include "dataplane/bpdu_channel.hh"
#include "dataplane/engine.hh"
#include "dataplane/forward.hh"
#include "dataplane/offload.hh"
#include "dataplane/policer.hh"
#include "dataplane/remote.hh"
#include "dataplane/shaper.hh"
#include "dataplane/worker_rounds.hh"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <sched.h>
#include <sys/prctl.h>

namespace strait::dataplane {

namespace {

// Goes with an mbuf from worker to worker, in its private area.
struct handover_note {
    std::uint32_t incarnation; // of the destination: its index may have a new user by then
    port_index destination;
    port_index in_port;
    vlan_id vlan;
    std::uint16_t priority;
    std::uint16_t note; // its queue
    std::uint8_t tagged;
    std::uint8_t tags;
    offload_intent offload;
};
static_assert(sizeof(handover_note) <= handover_area);
static_assert(std::is_trivially_copyable_v<handover_note>);

} // namespace

class worker::to_mirror final : public mirror_sender {
public:
    to_mirror(worker& w, const iteration& now) noexcept : w_{w}, now_{now} {}
    bool send(std::span<packet* const> packets, const port_config& port,
              port_counters& counters) noexcept override
    {
        return w_.give_copies(packets, false, port, counters, now_);
    }

private:
    worker& w_;
    const iteration& now_;
};

published::published(std::unique_ptr<const snapshot> s, const engine& e)
    : config{std::move(s)}, plans(e.settings_.lcores.size())
{
    for (worker_plan& plan : plans) {
        plan.sinks.resize(max_ports);
    }
    for (const auto& port : config->ports) {
        if (!port) {
            continue;
        }
        const queue_config* first = nullptr; // serves who has none
        for (const queue_config& q : port->queues) {
            worker_plan& own = plans[to_index(q.worker)];
            if (q.rx != nullptr) {
                own.sources.push_back({q.rx, port.get(), q.counters.get(), q.rx->can_wake()});
            }
            if (q.tx == nullptr) {
                continue;
            }
            first = first == nullptr ? &q : first;
            worker_plan::sink& sink = own.sinks[to_index(port->index)];
            if (sink.queue != nullptr) {
                continue; // a worker's first queue of a port wins
            }
            const bool shaped = port->egress_shaper && &q == &port->queues.front();
            sink.queue = shaped ? port->egress_shaper.get() : q.tx;
            sink.counters = q.counters.get();
            sink.may_close = q.worker != first->worker;
            if (shaped) {
                own.shapers.push_back({port->egress_shaper.get(), port.get(), q.counters.get()});
            }
        }
        if (first != nullptr) {
            for (worker_plan& plan : plans) {
                worker_plan::sink& sink = plan.sinks[to_index(port->index)];
                sink.owner = first->worker;
                sink.reachable = true;
            }
        }
    }
    const std::uint64_t now = rte_rdtsc();
    for (worker_plan& plan : plans) {
        std::vector<bool> patient;
        plan.may_sleep = !e.settings_.busy_poll;
        for (const worker_plan::source& source : plan.sources) {
            patient.push_back(source.queue->sender_waits());
            plan.naps = plan.naps || !source.wakes;
            plan.may_sleep = plan.may_sleep && (source.wakes || source.queue->may_wait());
        }
        plan.order = poll_order{patient, now, e.tsc_hz_};
        plan.extras = !plan.shapers.empty() || config->bpdus;
    }
    for (worker_plan& plan : plans) {
        for (worker_plan::sink& sink : plan.sinks) {
            sink.wake_owner = sink.reachable && plans[to_index(sink.owner)].may_sleep;
        }
    }
}

void handover_ring::deleter::operator()(rte_ring* ring) const noexcept
{
    std::free(ring); // NOLINT(cppcoreguidelines-no-malloc): from aligned_alloc below
}

handover_ring::handover_ring()
{
    constexpr std::size_t cache_line = 64;
    const auto bytes = static_cast<std::size_t>(rte_ring_get_memsize(size));
    ring_.reset(static_cast<rte_ring*>(
        std::aligned_alloc(cache_line, (bytes + cache_line - 1) / cache_line * cache_line)));
    constexpr unsigned flags = RING_F_SP_ENQ | RING_F_SC_DEQ;
    if (!ring_ || rte_ring_init(ring_.get(), "handover", size, flags) != 0) {
        throw std::bad_alloc{};
    }
}

bool handover_ring::empty() const noexcept
{
    return rte_ring_empty(ring_.get()) != 0;
}

handover_ring::~handover_ring()
{
    std::array<rte_mbuf*, burst::capacity> left;
    while (const unsigned n = take(left)) {
        rte_pktmbuf_free_bulk(left.data(), n);
    }
}

unsigned handover_ring::give(std::span<rte_mbuf* const> packets) noexcept
{
    return rte_ring_sp_enqueue_burst(ring_.get(), reinterpret_cast<void* const*>(packets.data()),
                                     static_cast<unsigned>(packets.size()), nullptr);
}

unsigned handover_ring::take(std::span<rte_mbuf*> packets) noexcept
{
    return rte_ring_sc_dequeue_burst(ring_.get(), reinterpret_cast<void**>(packets.data()),
                                     static_cast<unsigned>(packets.size()), nullptr);
}

worker::~worker() = default;

worker::worker(engine& e, worker_index index, std::size_t workers)
    : engine_{e},
      index_{index},
      next_second_{e.start_tsc_ + e.tsc_hz_},
      patience_{e.tsc_hz_ / 10'000},
      naps_{e.tsc_hz_,
            e.tsc_hz_ / 1'000'000 * static_cast<std::uint64_t>(e.settings_.nap_tolerance.count())},
      port_counters_{new port_counters[max_ports]},
      burst_{new burst},
      cut_{new burst},
      tracker_{*e.connections_, static_cast<unsigned>(to_index(index)), e.settings_.pool},
      flows_{e.settings_.flow_cache_bytes},
      carrier_{e.neighbours_, e.tsc_hz_},
      judge_{flows_},
      taps_{index, port_counters_.get()},
      inspector_{index}
{
    flows_.set_tracking(tracker_);
    judge_.set_tracking(tracker_);
    for (auto& r : rounds_) {
        r = std::make_unique<round>(flows_);
        r->flows.set_tracking(tracker_);
    }
    expected_.fill(no_port);
    e.rcu_.bell(index).open();
    inboxes_.resize(workers);
    for (std::size_t from = 0; from < workers; ++from) {
        if (from != to_index(index)) {
            inboxes_[from] = std::make_unique<handover_ring>();
        }
    }
}

void worker::run() noexcept
{
    (void)::prctl(PR_SET_TIMERSLACK, 1UL); // nanosecond: naps are as short as that
    constexpr unsigned polls_before_yield = 16;
    engine_.rcu_.go_online(index_);
    last_tsc_ = rte_rdtsc();
    unsigned idle_polls = 0;
    while (!stop_.load(std::memory_order_relaxed)) {
        if (const auto gate = engine_.gate_.load(std::memory_order_acquire);
            gate != engine::gate::open) [[unlikely]] {
            wait_at_gate(gate == engine::gate::inboxes);
            continue;
        }
        const std::uint64_t tsc = last_tsc_;
        if (tsc >= next_second_) [[unlikely]] {
            const std::uint64_t passed = (tsc - next_second_) / engine_.tsc_hz_ + 1; // many asleep
            next_second_ += passed * engine_.tsc_hz_;
            now_ += static_cast<seconds_t>(passed);
        }
        published* const p = engine_.current_.load(std::memory_order_acquire);
        const iteration now{tsc, p->config.get(), &p->plans[to_index(index_)]};
        taps_.look_at(*now.config);
        const bool handed_over = poll_inboxes(now);
        std::uint64_t begun = handed_over ? rte_rdtsc() : tsc;
        bool busy = now.plan->order.run(tsc, handed_over, [&](std::size_t number) noexcept {
            const worker_plan::source& source = now.plan->sources[number];
            if (!poll(source, now)) {
                return false;
            }
            if (source.counters != nullptr) {
                const std::uint64_t end = rte_rdtsc();
                source.counters->cycles.add(end - begun);
                begun = end;
            }
            return true;
        });
        if (const std::uint64_t waits = now.plan->order.take_waits(); waits > 0) [[unlikely]] {
            flows_.entries().counters.waits.add(waits);
        }
        if (now.plan->extras) [[unlikely]] {
            busy = release_waiting(now) || busy;
            busy = send_bpdus(now) || busy;
        }
        if (carrier_.due(tsc)) [[unlikely]] {
            look_at_waiting(now);
        }
        notifications_.flush(); // before the rings in it may go
        if (!flows_.entries().settled()) {
            flows_.entries().bring_home(tsc, !busy);
        }
        if (!tracker_.rests(now_)) {
            tracker_.maintain(now_);
        }
        if (tracker_.has_waiting_fragments(now_)) [[unlikely]] {
            drop_waiting_fragments();
        }
        if (busy) {
            awake_until_ = tsc + patience_;
        } else if (tsc >= awake_until_ && now.plan->may_sleep &&
                   (!now.plan->naps || naps_.may(tsc)) && flows_.entries().settled() &&
                   carrier_.idle() && !tracker_.has_job() && !tracker_.is_late(now_) &&
                   next_release(*now.plan) > tsc + patience_) {
            sleep(now);
        }
        engine_.rcu_.quiescent(index_);
        idle_polls = busy ? 0 : idle_polls + 1;
        if (engine_.settings_.share_cpus && idle_polls >= polls_before_yield) {
            sched_yield();
        }
        account(rte_rdtsc(), busy);
    }
    engine_.rcu_.go_offline(index_);
    ended_.store(true, std::memory_order_release);
}

// While queues change their workers.
void worker::wait_at_gate(bool inboxes) noexcept
{
    bool busy = false;
    if (inboxes) {
        published* const p = engine_.current_.load(std::memory_order_acquire);
        const iteration now{last_tsc_, p->config.get(), &p->plans[to_index(index_)]};
        taps_.look_at(*now.config);
        busy = poll_inboxes(now);
        notifications_.flush();
    }
    engine_.rcu_.quiescent(index_);
    if (engine_.settings_.share_cpus) {
        sched_yield();
    }
    account(rte_rdtsc(), busy);
}

bool worker::poll(const worker_plan::source& source, const iteration& now) noexcept
{
    port_counters& counters = port_counters_[to_index(source.port->index)];
    port_index& expected = expected_[to_index(source.port->index)];
    const ports::queue_context context{
        now.tsc,
        engine_.settings_.pool,
        &counters,
        &notifications_,
        expected == no_port ? nullptr : now.plan->sinks[to_index(expected)].queue,
        packet_cost_};
    const queue_in_turn own{counters, source.counters};
    burst& b = *burst_;
    b.clear();
    if (source.queue->receive(b, context) == ports::rx_queue::poll::empty) {
        return false;
    }
    notifications_.flush();
    counters_.rx_packets.add(b.count);
    if (source.counters != nullptr) {
        source.counters->rx_packets.add(b.count);
    }
    taken_ += b.count;
    from_ = b.from;
    const std::size_t received = b.count;
    if (source.port->ingress) [[unlikely]] {
        b.count = source.port->ingress->take(index_, b.packets(), now.tsc);
        for (const packet_slot& p : std::span{b.slots}.subspan(b.count, received - b.count)) {
            // A port that is given too much must not be taken for one without a bridge behind it.
            if (!source.port->guard || !source.port->admin_up ||
                !inspector_.take_bpdu(p, {*now.config, *source.port, counters, now.tsc})) {
                counters.drop(drop_reason::ingress_policed, p);
            }
        }
    }
    if (taps_.active() && !show_received(b, *source.port, now)) [[unlikely]] {
        b.count = received;
        source.queue->release(b, context);
        from_ = {};
        return true;
    }
    burst* passed = &b;
    if (source.port->guard) [[unlikely]] {
        passed =
            &inspector_.inspect(b, {*now.config, *source.port, counters, now.tsc, now_}, outputs_);
    }
    const forward_context around{now.config, now_, &counters_, true, index_, now.tsc};
    const auto& live = now.config->bridges[to_index(source.port->bridge)]->flows;
    const flow::pipeline* const flows =
        live ? live->current.load(std::memory_order_acquire) : nullptr;
    const std::uint64_t before = flows_.entries().counters.miss_cycles.read();
    if (flows == nullptr) {
        forward(*passed, *source.port, around, counters, outputs_);
    } else {
        struct at_once final : flow::delivery {
            at_once(worker& w, const iteration& i) noexcept : w_{w}, now_{i} {}
            void deliver_lists() noexcept override { w_.deliver(now_, w_.outputs_, 0); }
            worker& w_;
            const iteration& now_;
        } lists{*this, now};
        flows_.forward(*passed, {*flows, *source.port, around, counters, outputs_, lists,
                                 engine_.settings_.pool, &carrier_.notes(), index_, now.tsc,
                                 &carrier_.errors()});
    }
    const bool to_one = outputs_.ports().size() == 1;
    deliver(now, outputs_, 0);
    from_ = {};
    expected = to_one ? delivered_to_ : no_port; // into a tunnel: the port that it left by
    // What rules for packets that leave were looked up for is the sender's debt, too.
    const std::uint64_t missed = flows_.entries().counters.miss_cycles.read() - before;
    if (missed > 0) [[unlikely]] {
        now.plan->order.charge(missed);
    }
    carrier_.notes().clear();
    if (passed != &b) [[unlikely]] {
        for (const packet_slot& p : passed->packets()) {
            rte_pktmbuf_free(p.mbuf);
        }
    }
    b.count = received;
    source.queue->release(b, context);
    return true;
}

bool worker::show_received(burst& b, const port_config& in, const iteration& now) noexcept
{
    if (in.bridge == no_bridge) {
        for (const packet_slot& p : b.packets()) {
            port_counters_[to_index(in.index)].drop(drop_reason::mirror_output, p);
        }
        return false;
    }
    to_mirror out{*this, now};
    taps_.received(b, in, engine_.settings_.pool, out);
    return true;
}

bool worker::poll_inboxes(const iteration& now) noexcept
{
    bool busy = false;
    for (const auto& inbox : inboxes_) {
        if (!inbox) {
            continue;
        }
        std::array<rte_mbuf*, burst::capacity> taken;
        const unsigned count = inbox->take(taken);
        if (count == 0) {
            continue;
        }
        busy = true;
        notifications_.flush();
        burst& b = *burst_;
        b.clear();
        for (rte_mbuf* const m : std::span{taken}.first(count)) {
            const auto& note = *static_cast<const handover_note*>(rte_mbuf_to_priv(m));
            const port_config* const port = now.config->port(note.destination);
            packet_slot& p = b.slots[b.count];
            port_counters& counters = port_counters_[to_index(note.destination)];
            if (port == nullptr || port->incarnation != note.incarnation) {
                counters.drop(drop_reason::port_removed);
                rte_pktmbuf_free(m);
                continue;
            }
            if (!from_mbuf(p, m, b)) {
                counters.drop(drop_reason::no_memory);
                rte_pktmbuf_free(m);
                continue;
            }
            // What own() made has all of the head in one piece; an intent trusts in that.
            if (note.offload.header_length > p.head_length) [[unlikely]] {
                counters.drop(drop_reason::no_memory);
                rte_pktmbuf_free(m);
                continue;
            }
            p.in_port = note.in_port;
            p.vlan = note.vlan;
            p.priority = note.priority;
            p.note = note.note;
            p.tagged = note.tagged & 3;
            p.tags = note.tags & 0x3f;
            p.offload = note.offload;
            outputs_.add(note.destination, p);
            ++b.count;
        }
        deliver(now, outputs_, 0, true);
        for (packet_slot& p : b.packets()) {
            rte_pktmbuf_free(p.mbuf);
        }
    }
    return busy;
}

void worker::deliver(const iteration& now, output_lists& lists, std::size_t depth,
                     bool handed_over) noexcept
{
    const bool several = lists.ports().size() > 1; // else nobody reads `destinations` again
    delivered_to_ = several || lists.ports().empty() ? no_port : lists.ports().front();
    for (const port_index to : lists.ports()) {
        const port_config& port = *now.config->ports[to_index(to)];
        port_counters& counters = port_counters_[to_index(to)];
        if (port.bridge == no_bridge) [[unlikely]] { // a mirror's copies, handed over
            const admitted kept = admit(lists.packets(to), port, taps_.scratch());
            (void)give_copies(lists.packets(to).first(kept.count), kept.complete, port,
                              taps_.scratch(), now);
            taps_.settle(counters);
            continue;
        }
        const std::span<packet*> listed = lists.packets(to);
        const admitted kept = admit(listed, port, counters, &too_long_);
        if (kept.count < listed.size() && too_long_.count > 0) [[unlikely]] {
            tell_senders(port, now, depth);
        }
        std::span<packet* const> packets = listed.first(kept.count);
        ports::tx_queue* const queue = now.plan->sinks[to_index(to)].open_queue();
        if (port.judged) [[unlikely]] {
            const bool here = queue != nullptr || port.has_no_queues();
            packets = packets.first(judge(listed.first(kept.count), port, here, counters, now));
        }
        if (port.egress && queue != nullptr) [[unlikely]] {
            const std::size_t within = port.egress->take(index_, packets, now.tsc);
            counters.drop(drop_reason::egress_policed, packets.subspan(within));
            packets = packets.first(within);
        }
        if (packets.empty()) {
            continue;
        }
        if (taps_.active() && !handed_over) [[unlikely]] {
            to_mirror out{*this, now};
            taps_.sent(packets, port, engine_.settings_.pool, out);
        }
        if (port.has_no_queues()) [[unlikely]] {
            carry(packets, port, now, depth);
        } else {
            (void)give(packets, kept.complete, port, queue, counters, now);
        }
        if (several) {
            for (packet* const p : packets) {
                --p->destinations;
            }
        }
    }
    lists.clear();
}

bool worker::give(std::span<packet* const> packets, bool complete, const port_config& port,
                  ports::tx_queue* queue, port_counters& counters, const iteration& now) noexcept
{
    if (queue != nullptr) {
        const std::uint64_t before = counters.tx_packets.read();
        const ports::queue_context context{.now = now.tsc,
                                           .pool = engine_.settings_.pool,
                                           .counters = &counters,
                                           .notifications = &notifications_,
                                           .from = from_};
        // A mirror's copies are not the queue's: what becomes of them is the mirror's to tell.
        queue_counters* const own = &counters == &port_counters_[to_index(port.index)]
                                        ? now.plan->sinks[to_index(port.index)].counters
                                        : nullptr;
        const queue_in_turn in_turn{counters, own};
        if (complete) [[likely]] {
            queue->transmit(packets, context);
        } else {
            transmit(packets, *queue, context);
        }
        const std::uint64_t sent = counters.tx_packets.read() - before;
        counters_.tx_packets.add(sent);
        if (own != nullptr) {
            own->tx_packets.add(sent);
        }
        return false;
    }
    const worker_plan::sink& sink = now.plan->sinks[to_index(port.index)];
    if (!sink.reachable) {
        counters.drop(drop_reason::receiver_not_connected, packets);
        return false;
    }
    if (!complete) {
        make_local(packets, counters);
    }
    hand_over(packets, port, sink, counters);
    return true;
}

// Gives packets to a queue in their order, with everything done that it does not do itself.
// Checksums are filled in place, for all destinations that come later; segments are cut of a
// packet that stays whole for them.
void worker::transmit(std::span<packet* const> packets, ports::tx_queue& queue,
                      const ports::queue_context& context) noexcept
{
    const offloads taken = queue.takes();
    const bool takes_remote = queue.takes_remote();
    const auto goes_as_it_is = [&](const packet& p) noexcept {
        return p.remote == nullptr || (takes_remote && p.destinations <= 1 &&
                                       !needs_work(p, taken) && !p.remote->unreadable);
    };
    std::array<packet*, burst::capacity> ready;
    std::size_t count = 0;
    for (packet* const p : packets) {
        if (!goes_as_it_is(*p)) {
            ready[count++] = p;
        }
    }
    make_local(std::span{ready}.first(count), *context.counters);

    count = 0;
    cut_->clear();
    const auto flush = [&]() noexcept {
        queue.transmit(std::span<packet* const>{ready}.first(count), context);
        cut_->clear();
        count = 0;
    };
    for (packet* const p : packets) {
        if (!goes_as_it_is(*p)) {
            continue; // counted by make_local()
        }
        if (count == ready.size()) {
            flush();
        }
        if (!needs_work(*p, taken)) {
            ready[count++] = p;
            continue;
        }
        if (p->offload.segment_size == 0) {
            finish_checksum(*p);
            ready[count++] = p;
            continue;
        }
        for (segmenter cutter{*p, taken}; !cutter.done();) {
            const std::size_t first = cut_->count;
            if (cutter.cut(*cut_, ready.size() - count) == 0) {
                flush();
                continue;
            }
            for (packet_slot& segment : cut_->packets().subspan(first)) {
                ready[count++] = &segment;
            }
        }
    }
    if (count > 0) {
        flush();
    }
}

// Past VLANs, limits and the shaper: they are the link's, and no port may be without them.
bool worker::send_bpdus(const iteration& now) noexcept
{
    bpdu_channel* const channel = now.config->bpdus.get();
    if (channel == nullptr) {
        return false;
    }
    bool sent = false;
    while (const bpdu_channel::outgoing* const next = channel->next_to_send(index_)) {
        sent = true;
        const port_config* const port = now.config->port(next->port);
        if (port == nullptr || port->incarnation != next->incarnation || !port->admin_up) {
            channel->sent(index_);
            continue;
        }
        port_counters& counters = port_counters_[to_index(port->index)];
        burst_->clear();
        packet_slot& p = burst_->slots[burst_->count++];
        static_cast<packet&>(p) = {};
        p.data = p.head.data();
        std::memcpy(p.data, next->bytes.data(), next->bytes.size());
        p.length = p.head_length = bpdu_channel::frame_bytes;
        p.in_port = port->index;
        p.tagged = as_it_is;
        p.destinations = 1;
        // A queue that is full leaves who owns it what it did not take.
        packet_slot& owned = burst_->slots[burst_->count];
        rte_mbuf* const m = own(p, engine_.settings_.pool);
        if (m == nullptr || !from_mbuf(owned, m, *burst_)) {
            rte_pktmbuf_free(m);
            channel->sent(index_);
            counters.drop(drop_reason::no_memory, p);
            continue;
        }
        owned.in_port = port->index;
        owned.tagged = as_it_is;
        owned.destinations = 1;
        packet* one = &owned;
        std::size_t left = 0;
        for (const queue_config& q : port->queues) {
            if (q.worker == index_ && q.tx != nullptr) {
                const queue_in_turn in_turn{counters, q.counters.get()};
                left = q.tx->transmit_some(
                    {&one, 1}, {now.tsc, engine_.settings_.pool, &counters, &notifications_});
                break;
            }
        }
        rte_pktmbuf_free(std::exchange(owned.mbuf, nullptr));
        // What is full now has room in a moment. Not for ever: others wait behind it.
        if (left != 0 && (bpdu_waits_ == 0 || now.tsc - bpdu_waits_ < 20 * patience_)) {
            bpdu_waits_ = bpdu_waits_ == 0 ? now.tsc : bpdu_waits_;
            break;
        }
        bpdu_waits_ = 0;
        channel->sent(index_);
        if (left != 0) {
            counters.drop(drop_reason::transmit_error, p);
        } else if (taps_.active()) {
            to_mirror out{*this, now};
            packet* const shown = &p;
            taps_.sent({&shown, 1}, *port, engine_.settings_.pool, out);
        }
    }
    return sent;
}

// Counts what stays remote: at its sender if that is to blame, the first time; else at the port it
// was to leave by.
void worker::make_local(std::span<packet* const> packets, port_counters& counters) noexcept
{
    std::array<packet*, burst::capacity> remote;
    std::size_t count = 0;
    for (packet* const p : packets) {
        if (p->remote == nullptr) {
            continue;
        }
        if (!p->remote->unreadable) {
            remote[count++] = p;
        } else if (std::exchange(p->remote->uncounted, false)) {
            port_counters_[to_index(p->in_port)].drop(drop_reason::grant_error, *p);
        }
    }
    const std::span<packet* const> tried = std::span{remote}.first(count);
    localise(tried, engine_.settings_.pool);
    for (const packet* const p : tried) {
        if (p->remote == nullptr) {
            continue;
        }
        if (p->remote->unreadable) {
            port_counters_[to_index(p->in_port)].drop(drop_reason::grant_error, *p);
        } else {
            counters.drop(drop_reason::no_memory, *p);
        }
    }
}

void worker::hand_over(std::span<packet* const> packets, const port_config& port,
                       const worker_plan::sink& to, port_counters& counters) noexcept
{
    std::array<rte_mbuf*, burst::capacity> owned;
    std::array<packet*, burst::capacity> given_up; // whose bytes may be those of `owned`
    std::size_t count = 0;
    for (packet* const p : packets) {
        if (p->remote != nullptr) {
            continue; // counted by make_local()
        }
        const handover_note note{.incarnation = port.incarnation,
                                 .destination = port.index,
                                 .in_port = p->in_port,
                                 .vlan = p->vlan,
                                 .priority = p->priority,
                                 .note = static_cast<std::uint16_t>(p->note & packet_note::queue),
                                 .tagged = p->tagged,
                                 .tags = p->tags,
                                 .offload = p->offload};
        rte_mbuf* const m = own(*p, engine_.settings_.pool);
        if (m == nullptr) {
            counters.drop(drop_reason::no_memory, *p);
            continue;
        }
        std::memcpy(rte_mbuf_to_priv(m), &note, sizeof note);
        given_up[count] = p;
        owned[count++] = m;
    }
    handover_ring& ring = engine_.workers_[to_index(to.owner)]->inbox(index_);
    const unsigned given = ring.give(std::span{owned}.first(count));
    if (to.wake_owner && given > 0) {
        engine_.rcu_.bell(to.owner).ring();
    }
    counters_.handed_over.add(given);
    if (given < count) {
        counters.drop(drop_reason::handover_full,
                      std::span<packet* const>{given_up}.subspan(given, count - given));
        rte_pktmbuf_free_bulk(owned.data() + given, static_cast<unsigned>(count - given));
    }
}

// Until one of the sources, another worker or control has something, what waits for a rate may go,
// connections are over, or a source that cannot wake it is to be looked at. `now` may be gone
// afterwards. Whoever wakes it for nothing does so once in `patience_`.
void worker::sleep(const iteration& now) noexcept
{
    doorbell& bell = engine_.rcu_.bell(index_);
    bell.listen();
    const bool asleep = listen(now);
    bool napped = false;
    const std::uint64_t tsc = rte_rdtsc();
    counters_.idle_cycles.add(tsc - last_tsc_);
    last_tsc_ = tsc;
    if (asleep) {
        const std::uint64_t nap = now.plan->naps ? tsc + naps_.length() : shaper::never;
        const std::uint64_t until = std::min({next_release(*now.plan), next_expiry(), nap});
        const bool naps = now.plan->naps;
        timespec longest{};
        if (until != shaper::never) {
            const std::uint64_t cycles = until > tsc ? until - tsc : 0;
            constexpr std::uint64_t nanoseconds = 1'000'000'000;
            longest.tv_sec = static_cast<time_t>(cycles / engine_.tsc_hz_);
            longest.tv_nsec =
                static_cast<long>(cycles % engine_.tsc_hz_ * nanoseconds / engine_.tsc_hz_);
        }
        counters_.asleep.begin(last_tsc_);
        engine_.rcu_.go_offline(index_);
        const int rang = ::ppoll(wakers_.data(), wakers_.size(),
                                 until == shaper::never ? nullptr : &longest, nullptr);
        engine_.rcu_.go_online(index_);
        last_tsc_ = rte_rdtsc();
        counters_.asleep.end(last_tsc_);
        if (naps) {
            napped = rang == 0 && until == nap;
            counters_.naps.add(1);
            counters_.late_naps.add(naps_.woke(until, last_tsc_, napped) ? 0 : 1);
        }
    }
    bell.stop_listening();
    // One look is enough where nobody rang.
    awake_until_ = last_tsc_ + (napped ? 0 : patience_);
}

// At the ports that they came from.
void worker::drop_waiting_fragments() noexcept
{
    std::array<conntrack::fragments::waiting_packet, burst::capacity> late;
    const std::size_t count = tracker_.expire_fragments(late, now_);
    for (const auto& w : std::span{late}.first(count)) {
        burst& b = *burst_;
        b.clear();
        port_counters& counters = port_counters_[to_index(w.from)];
        if (from_mbuf(b.slots[0], w.mbuf, b)) {
            b.slots[0].in_port = w.from;
            counters.drop(drop_reason::ct_fragment, b.slots[0]);
        } else {
            counters.drop(drop_reason::ct_fragment);
        }
        rte_pktmbuf_free(w.mbuf);
    }
}

// TSC at which connections may be over that nobody else forgets, if all workers sleep.
std::uint64_t worker::next_expiry() noexcept
{
    const seconds_t at = tracker_.next_look(now_);
    if (at == conntrack::tracker::never) {
        return shaper::never;
    }
    return next_second_ + (at > now_ ? at - now_ - 1 : 0) * engine_.tsc_hz_;
}

// Asks everybody to wake this worker. False: something came meanwhile. Descriptors are gathered
// anew each time: a guest that went is not waited for, and one whose number somebody else has got
// by now wakes in vain at most.
bool worker::listen(const iteration& now) noexcept
{
    if (stop_.load(std::memory_order_relaxed) ||
        engine_.current_.load(std::memory_order_acquire)->config.get() != now.config) {
        return false;
    }
    for (const auto& inbox : inboxes_) {
        if (inbox && !inbox->empty()) {
            return false;
        }
    }
    if (now.config->bpdus && !now.config->bpdus->nothing_to_send(index_)) {
        return false;
    }
    wakers_.clear();
    wakers_.push_back(
        {.fd = engine_.rcu_.bell(index_).descriptor(), .events = POLLIN, .revents = 0});
    waker_counts_.clear();
    for (const worker_plan::source& source : now.plan->sources) {
        const std::size_t before = wakers_.size();
        if (source.wakes && !source.queue->list_wakers(wakers_)) {
            return false; // before anybody is asked
        }
        waker_counts_.push_back(wakers_.size() - before);
    }
    // One system call tells which of them have to be read.
    (void)::poll(wakers_.data(), wakers_.size(), 0);
    std::span<const pollfd> left = std::span{wakers_}.subspan(1);
    for (std::size_t i = 0; i < waker_counts_.size(); ++i) {
        const worker_plan::source& source = now.plan->sources[i];
        if (source.wakes && !source.queue->ask_to_wake(left.first(waker_counts_[i]))) {
            return false;
        }
        left = left.subspan(waker_counts_[i]);
    }
    return true;
}

void worker::account(std::uint64_t tsc, bool busy) noexcept
{
    const std::uint64_t cycles = tsc - last_tsc_;
    last_tsc_ = tsc;
    (busy ? counters_.busy_cycles : counters_.idle_cycles).add(cycles);
    counters_.iterations.add(1);
    constexpr std::size_t many = 32;
    if (taken_ >= many) {
        packet_cost_ = (packet_cost_ * 7 + cycles / taken_) / 8;
    }
    taken_ = 0;
    if (cycles > counters_.longest_gap.read()) [[unlikely]] {
        counters_.longest_gap.set(cycles);
    }
}

} // namespace strait::dataplane

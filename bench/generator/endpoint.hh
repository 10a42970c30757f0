// SPDX-License-Identifier: BSD-3-Clause
// One end of the traffic: which frames it sends, and what arrived. How they travel is what kinds of
// ends differ in: vhost_endpoint.hh, xen_endpoint.hh, tap_endpoint.hh. Pacing and the order of
// things are the caller's (generator.cc).

#pragma once

#include "bench/generator/frames.hh"
#include "bench/generator/histogram.hh"
#include "bench/generator/options.hh"
#include "bench/generator/sequence.hh"
#include "bench/generator/vxlan.hh"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace strait::bench {

// Frames of the IMIX: 64, 594 and 1514 bytes as 7:4:1, mixed so that no size comes in runs.
inline constexpr std::array<std::uint8_t, 12> imix_order = {0, 1, 0, 1, 0, 2, 0, 1, 0, 1, 0, 0};
inline constexpr std::array<std::uint16_t, 3> imix_sizes = {64, 594, 1514};

// What one end sent and received since the counts were last cleared.
struct counts {
    std::uint64_t sent = 0;
    // Times the ring took less than it was offered.
    std::uint64_t blocked = 0;
    std::uint64_t bursts = 0;
    std::uint64_t received = 0;
    std::uint64_t received_bytes = 0;
    std::uint64_t checked = 0;
    // Of these, arrived with a checksum that is left to be filled in.
    std::uint64_t checksum_left = 0;
    std::uint64_t corrupt = 0;
    std::uint64_t foreign = 0;
    // Sent, each the first of its flow.
    std::uint64_t new_flows = 0;
    // Longest time between two arrivals, in TSC cycles.
    std::uint64_t longest_gap = 0;
    // Of more than two ends, arrived here and were another end's, or had been sent here; not in
    // `received`. Nor are foreign ones then.
    std::uint64_t misdelivered = 0;

    // All that shows that the switch still delivers.
    [[nodiscard]] std::uint64_t arrived() const noexcept { return received + misdelivered; }
};

// The same of a group of flows, as far as it is counted; see options::groups().
struct tally {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::uint64_t corrupt = 0;

    tally& operator+=(const tally& more) noexcept
    {
        sent += more.sent;
        received += more.received;
        corrupt += more.corrupt;
        return *this;
    }
};

// The numbers of a side's frames: the ends of a side have different flows of it.
struct numbers {
    departures sent;
    arrivals arrived; // of the far side's
};

// Used by one thread. Frames go out and come in in bursts of up to `burst`. What goes wrong is
// thrown as std::runtime_error, one sentence that begins with the end's place.
class endpoint {
public:
    static constexpr std::uint16_t burst = 32;

    // `which`: its number in options::ends.
    endpoint(std::size_t which, const options& settings);
    endpoint(const endpoint&) = delete;
    endpoint& operator=(const endpoint&) = delete;
    virtual ~endpoint() = default;

    // Waits for the switch, and hands it the rings if there are some.
    virtual void attach(std::chrono::milliseconds patience) = 0;

    // Throws when the switch has gone.
    virtual void expect_connected() = 0;

    // Now and then, with options::reconnect: an end that the switch lets go of when it ends looks
    // for the next one.
    virtual void follow_switch() {}

    // Offers up to `most` frames (at most `burst`) to the switch and returns how many it had room
    // for. `now` stamps them when latency is measured.
    virtual unsigned transmit(unsigned most, std::uint64_t now) noexcept = 0;

    // What the switch had no room for yet will not be sent.
    virtual void drop_waiting() noexcept {}

    // Takes one burst of what arrived, counts it and returns its size.
    virtual unsigned receive(std::uint64_t now) noexcept = 0;

    // How many of its side's flows this end sends.
    [[nodiscard]] std::uint32_t own_flows() const noexcept { return flows_ / own_step_; }
    // Of these, the next frame sent is of the flow-th, and each is of the next one from there,
    // `stride` on.
    void start_flows(std::uint32_t flow, std::uint32_t stride) noexcept;
    // Frames sent are of the flows in `order`, those of other ends left out, from the `first` share
    // of it on and again and again, but for those that are the first ones of their flows.
    void follow(std::span<const std::uint32_t> order, double first);
    // This share of the frames to come is of flows never sent before.
    void begin_flows(double share) noexcept;

    // From now on one frame in `every` is stamped; see options::latency. Histograms are made when
    // they are first asked for, of the groups that can arrive here.
    void measure_latency(std::uint32_t every);

    // No latency is looked at until the next clear().
    void stop_latency() noexcept { look_at_ = ~std::uint64_t{0}; }

    // Of more than two ends: no path leads here, so that from now on each of their frames that
    // comes is misdelivered.
    void take_none() noexcept { takes_none_ = true; }

    // Starts counts, gaps and latencies anew.
    void clear(std::uint64_t now) noexcept;

    // With numbered frames, of the ends of a side together.
    void share_numbers(std::shared_ptr<numbers> of_side) noexcept
    {
        numbers_ = std::move(of_side);
        reads_ = reads_ || numbers_;
        fixed_ = fixed_ && !numbers_;
    }
    // Forgets what the far side sent up to now; what became of it since, of the groups from `first`
    // on, each `step`-th.
    void begin_sequence(const endpoint& far) noexcept;
    [[nodiscard]] sequence_summary sequence(const endpoint& far, std::size_t first = 0,
                                            std::size_t step = 1) const noexcept;

    [[nodiscard]] const counts& counted() const noexcept { return counts_; }
    // By group; empty if there are but two ends and flows are not reported.
    [[nodiscard]] std::span<const tally> tallies() const noexcept { return tallies_; }
    // Of each group that can arrive here; empty if latency was never measured.
    [[nodiscard]] std::span<const histogram> latencies() const noexcept { return latencies_; }
    // Adds those of the groups from `first` on, each `step`-th, all of which can arrive here.
    void add_latencies(std::size_t first, std::size_t step, histogram& to) const noexcept;

protected:
    // Frames are sent as they were built: one flow, one size, nothing that changes.
    [[nodiscard]] bool fixed() const noexcept { return fixed_; }
    [[nodiscard]] bool several_sizes() const noexcept { return size_count_ > 1 || tunnel_; }
    [[nodiscard]] std::uint16_t largest_size() const noexcept
    {
        return static_cast<std::uint16_t>(sizes_[size_count_ - 1].bytes + outer_);
    }
    // Writes the frame that shape() then changes, largest_size() bytes.
    void build(std::span<std::byte> frame) const noexcept;
    [[nodiscard]] const frame_form& form() const noexcept { return form_; }
    // Turns the built frame in a buffer into the next one to be sent; returns its size. An end that
    // speaks VXLAN may send an answer instead, which is not counted.
    // `buffer` is below queues() times the rings' size.
    std::uint16_t shape(std::byte* frame, std::size_t buffer, std::uint64_t now) noexcept;
    // Of the ends with several queues: that of the next frame shape() makes, by its flow.
    [[nodiscard]] std::uint16_t next_queue() noexcept
    {
        upcoming_ = upcoming_ ? upcoming_ : std::optional{next_flow()};
        return static_cast<std::uint16_t>(*upcoming_ % queues_);
    }
    [[nodiscard]] std::uint16_t queues() const noexcept { return queues_; }
    // A frame that shape() made, and that is not sent: it is counted as none of its flow. Of
    // several of a flow these are the last.
    void take_back(std::span<const std::byte> frame) noexcept;
    // After each attempt to send.
    void count_sent(unsigned offered, unsigned taken) noexcept;

    // A frame arrives, which may come in parts: its first one, then all of it. `gathered` may be
    // empty if checks() is false. `partial`: its checksum is left to be filled in.
    void begin_frame(std::span<const std::byte> head, std::uint64_t now) noexcept;
    [[nodiscard]] bool checks() const noexcept { return checks_; }
    void end_frame(std::span<const std::byte> gathered, std::uint32_t bytes,
                   bool partial = false) noexcept;
    // After a burst in which something arrived.
    void end_burst(std::uint64_t now) noexcept;

private:
    [[nodiscard]] std::uint32_t next_flow() noexcept;
    // Which of latencies_ is a group's.
    [[nodiscard]] std::size_t latency_of(std::size_t group) const noexcept
    {
        return taken_path_ ? group / paths_ : group;
    }
    // Of an end with a tunnel, before the rest of shape(): whether the buffer has an answer now. If
    // it had one before, a frame is built there anew.
    bool answer(std::byte* frame, std::size_t buffer) noexcept;
    [[nodiscard]] verdict judge(std::span<const std::byte> frame, bool partial, side from,
                                std::span<const frame_size> sizes) const noexcept;
    // True: it is as it was sent.
    bool check(std::span<const std::byte> frame, bool partial) noexcept;
    // Whose frame it is that comes in. False: its path does not lead here, or it is none of ours.
    bool attribute(const std::byte* frame) noexcept;
    // It came here and is none of this end's.
    void count_stray(std::span<const std::byte> gathered, std::uint32_t bytes,
                     bool partial) noexcept;

    side side_;
    bool fixed_ = false;
    bool writes_flow_ = false;
    bool stamps_ = false;
    bool reads_ = false; // stamps or numbers of what arrives
    std::uint32_t stamp_every_ = 1;
    std::uint32_t until_stamp_ = 1;
    std::uint32_t look_every_ = 1;
    std::uint64_t look_at_ = 0; // by frames received
    // Buffers whose frame has a stamp, which is old when it is sent without a new one.
    std::unique_ptr<bool[]> stamped_;
    bool turned_ = false;
    flow_kind kind_ = flow_kind::macs;
    frame_form form_; // of what is sent, and of what arrives
    std::uint16_t before_mark_ = 0;
    std::optional<vxlan> tunnel_;
    std::uint16_t outer_ = 0;          // bytes of its header
    std::unique_ptr<bool[]> answered_; // buffers that have an answer in them
    std::uint32_t flows_ = 1;          // of its side
    std::uint16_t queues_ = 1;
    std::optional<std::uint32_t> upcoming_; // flow, chosen before its buffer was
    std::uint32_t next_flow_ = 0;
    std::uint32_t stride_ = 1;
    std::span<const std::uint32_t> order_; // empty: at a stride
    std::size_t next_in_order_ = 0;
    std::uint64_t new_share_ = 0; // of 2^32
    std::uint64_t new_due_ = 0;
    std::uint32_t next_new_ = 0;
    std::uint32_t next_size_ = 0;
    std::uint32_t verify_every_ = 0;
    std::uint64_t verify_at_ = 0;
    std::uint64_t last_arrival_ = 0;
    counts counts_;

    // The frame that is coming in.
    bool checks_ = false;
    bool numbered_ = false;
    bool stray_ = false;      // none of the tunnel's, or of this end's
    bool unmarked_ = false;   // and that since it is none of the generator's
    bool attributed_ = false; // to the group
    std::uint32_t flow_ = 0;
    std::uint32_t number_ = 0;
    std::uint32_t group_ = 0;
    std::size_t latency_ = 0; // its place in latencies_

    std::shared_ptr<numbers> numbers_; // null: frames are not numbered

    std::array<frame_size, 3> sizes_{};
    std::array<frame_size, 3> arriving_{}; // the far side's, in this one's form
    std::size_t size_count_ = 1;
    std::vector<histogram> latencies_;

    // Of more than two ends, or with figures of each flow.
    side far_side_;
    // It sends own_first_ and each own_step_-th flow from there. Of several paths it takes but one,
    // or all.
    std::uint32_t own_first_ = 0;
    std::uint32_t own_step_ = 1;
    std::uint32_t paths_ = 0; // 0: there are two ends
    std::optional<std::uint32_t> taken_path_;
    bool takes_none_ = false;
    std::uint32_t groups_ = 1;
    std::vector<tally> tallies_;
    std::vector<std::uint32_t> own_order_; // what is left of an order with other ends' flows
};

// ---- what is done for each frame, inline ----

inline std::uint32_t endpoint::next_flow() noexcept
{
    new_due_ += new_share_;
    if (constexpr std::uint64_t one = 1ULL << 32; new_due_ >= one) {
        new_due_ -= one;
        ++counts_.new_flows;
        return std::exchange(next_new_, next_new_ + own_step_);
    }
    if (!order_.empty()) {
        const std::uint32_t flow = order_[next_in_order_];
        next_in_order_ = next_in_order_ + 1 == order_.size() ? 0 : next_in_order_ + 1;
        return flow;
    }
    const std::uint32_t flow = next_flow_;
    next_flow_ += stride_;
    next_flow_ -= next_flow_ >= flows_ ? flows_ : 0;
    return flow;
}

[[gnu::always_inline]] inline std::uint16_t endpoint::shape(std::byte* frame, std::size_t buffer,
                                                            std::uint64_t now) noexcept
{
    if (tunnel_) {
        if (answer(frame, buffer)) [[unlikely]] {
            return smallest_frame;
        }
        frame += outer_;
    }
    std::uint32_t flow = 0;
    std::byte* const marked = frame + before_mark_;
    if (writes_flow_) {
        flow = upcoming_ ? *upcoming_ : next_flow();
        upcoming_.reset();
        set_flow(frame, side_, kind_, flow, form_);
    }
    if (!tallies_.empty()) [[unlikely]] {
        ++tallies_[flow % groups_].sent;
    }
    const frame_size* size = sizes_.data();
    if (size_count_ > 1) {
        size = &sizes_[imix_order[next_size_]];
        next_size_ = next_size_ + 1 == imix_order.size() ? 0 : next_size_ + 1;
        set_size(frame, *size, form_);
    }
    if (stamps_) {
        if (--until_stamp_ == 0) {
            until_stamp_ = stamp_every_;
            stamped_[buffer] = true;
            set_stamp(marked, now);
        } else if (stamped_[buffer]) {
            stamped_[buffer] = false;
            set_stamp(marked, 0);
        }
    }
    if (numbers_) { // behind the stamp, which covers a part of it
        set_sequence(marked, numbers_->sent.take(flow));
    }
    if (form_.has_checksum()) {
        set_checksum(frame, *size, form_);
    }
    if (tunnel_) {
        tunnel_->write(frame - outer_, size->bytes, flow);
    }
    return static_cast<std::uint16_t>(size->bytes + outer_);
}

inline void endpoint::count_sent(unsigned offered, unsigned taken) noexcept
{
    counts_.sent += taken;
    counts_.bursts += 1;
    counts_.blocked += taken < offered ? 1 : 0;
}

inline void endpoint::begin_frame(std::span<const std::byte> head, std::uint64_t now) noexcept
{
    checks_ = verify_every_ != 0 && counts_.received >= verify_at_;
    if (tunnel_) {
        stray_ = !tunnel_->take(head);
        if (stray_) [[unlikely]] {
            return;
        }
        head = head.subspan(outer_);
    }
    if (!reads_) {
        return;
    }
    if (head.size() < smallest_frame + before_mark_) [[unlikely]] {
        stray_ = unmarked_ = paths_ != 0;
        attributed_ = false;
        return;
    }
    const std::byte* const marked = head.data() + before_mark_;
    if (!tallies_.empty() && !attribute(head.data())) [[unlikely]] {
        return;
    }
    if (stamps_ && counts_.received >= look_at_) {
        look_at_ = counts_.received + look_every_;
        const std::uint64_t sent = stamp_of(marked);
        const std::uint64_t took = (now - sent) & stamp_mask;
        if (sent != 0 && took <= stamp_mask / 2) { // else it was changed on its way
            latencies_[latency_].add(took);
        }
    }
    if (numbers_ && has_mark(marked)) {
        flow_ = flow_of(marked);
        number_ = sequence_of(marked);
        numbered_ = flow_ < flows_;
    }
}

inline void endpoint::end_frame(std::span<const std::byte> gathered, std::uint32_t bytes,
                                bool partial) noexcept
{
    if (stray_) [[unlikely]] {
        count_stray(gathered, bytes, partial);
        return;
    }
    if (checks_ || numbered_) {
        const bool good = !checks_ || check(gathered, partial);
        if (checks_) {
            verify_at_ = counts_.received + verify_every_;
        }
        if (numbered_ && good) {
            numbers_->arrived.take(flow_, number_);
        }
        numbered_ = false;
    }
    counts_.received += 1;
    counts_.received_bytes += bytes;
}

inline void endpoint::end_burst(std::uint64_t now) noexcept
{
    counts_.longest_gap = std::max(counts_.longest_gap, now - last_arrival_);
    last_arrival_ = now;
}

// Of the kind that the options say.
std::unique_ptr<endpoint> make_endpoint(std::size_t which, const options& settings);
// All of them.
std::vector<std::unique_ptr<endpoint>> make_endpoints(const options& settings);

} // namespace strait::bench

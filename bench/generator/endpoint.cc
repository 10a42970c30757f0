// SPDX-License-Identifier: BSD-3-Clause
// A frame is written when the rings are handed out; sending it again costs a few stores when flows,
// sizes, numbers or stamps vary.

#include "bench/generator/endpoint.hh"

#include "bench/generator/nic_endpoint.hh"
#include "bench/generator/tap_endpoint.hh"
#include "bench/generator/vhost_endpoint.hh"
#include "bench/generator/xen_endpoint.hh"

#include <algorithm>
#include <iterator>

namespace strait::bench {

endpoint::endpoint(std::size_t which, const options& settings)
    : side_(settings.side_of(which)),
      stamped_(std::make_unique<bool[]>(std::size_t{settings.queues} * settings.queue_size)),
      turned_(settings.turned),
      kind_(settings.sent_kind()),
      form_(settings.form_of(side_)),
      before_mark_(form_.before_mark()),
      flows_(settings.flows_of_a_side()),
      queues_(settings.queues),
      verify_every_(settings.verify_every),
      far_side_(settings.far_side_of(which)),
      paths_(settings.paths()),
      groups_(settings.groups()),
      tallies_(paths_ != 0 || settings.per_flow ? groups_ : 0)
{
    const auto number = static_cast<std::uint32_t>(which);
    if (settings.traffic == pattern::ring) {
        own_first_ = number;
        own_step_ = paths_;
        taken_path_ = number == 0 ? paths_ - 1 : number - 1;
    } else if (paths_ != 0 && which != 0) {
        own_first_ = number - 1;
        own_step_ = paths_;
        taken_path_ = number - 1;
    }
    next_new_ = flows_ + own_first_;
    start_flows(0, 1);
    const int longer = before_mark_ - settings.form_of(far_side_).before_mark();
    const auto sent = [this](std::uint16_t bytes) { return make_frame_size(bytes, form_, side_); };
    const auto arriving = [this, longer](std::uint16_t bytes) {
        return make_frame_size(static_cast<std::uint16_t>(bytes + longer), form_, far_side_);
    };
    if (settings.frame == 0) {
        size_count_ = imix_sizes.size();
        std::transform(imix_sizes.begin(), imix_sizes.end(), sizes_.begin(), sent);
        std::transform(imix_sizes.begin(), imix_sizes.end(), arriving_.begin(), arriving);
    } else {
        sizes_[0] = sent(settings.frame);
        arriving_[0] = arriving(settings.frame);
    }
    if (const vxlan_place& place = side_ == side::a ? settings.vxlan_a : settings.vxlan_b;
        place.own != 0) {
        tunnel_.emplace(side_, place);
        outer_ = vxlan::header;
        answered_ = std::make_unique<bool[]>(std::size_t{settings.queues} * settings.queue_size);
    }
    writes_flow_ = settings.flows != 0 || flows_ != 1 || settings.rewrite;
    measure_latency(settings.latency);
}

void endpoint::measure_latency(std::uint32_t every)
{
    if (every != 0 && latencies_.empty()) {
        latencies_.resize(latency_of(groups_));
    }
    stamps_ = every != 0;
    stamp_every_ = until_stamp_ = std::max(every, 1U);
    // With the same stride frames with stamps could be those never looked at.
    look_every_ = every > 1 ? every + 1 : 1;
    reads_ = stamps_ || numbers_ || !tallies_.empty();
    fixed_ = !writes_flow_ && !several_sizes() && !stamps_ && !numbers_ && tallies_.empty();
}

void endpoint::start_flows(std::uint32_t flow, std::uint32_t stride) noexcept
{
    next_flow_ = flow % own_flows() * own_step_ + own_first_;
    stride_ = stride % own_flows() * own_step_;
    order_ = {};
    new_share_ = 0;
    upcoming_.reset();
}

void endpoint::follow(std::span<const std::uint32_t> order, double first)
{
    if (own_step_ != 1) {
        own_order_.clear();
        std::ranges::copy_if(order, std::back_inserter(own_order_),
                             [this](std::uint32_t flow) { return flow % own_step_ == own_first_; });
        order = own_order_;
    }
    order_ = order;
    next_in_order_ = static_cast<std::size_t>(static_cast<double>(order.size()) * first);
}

void endpoint::begin_flows(double share) noexcept
{
    new_share_ = static_cast<std::uint64_t>(share * 0x1p32);
    new_due_ = 0;
}

void endpoint::add_latencies(std::size_t first, std::size_t step, histogram& to) const noexcept
{
    for (std::size_t group = first; group < groups_ && !latencies_.empty(); group += step) {
        to.merge(latencies_[latency_of(group)]);
    }
}

void endpoint::clear(std::uint64_t now) noexcept
{
    counts_ = {};
    std::ranges::fill(tallies_, tally{});
    for (histogram& one : latencies_) {
        if (one.count() != 0) {
            one.clear();
        }
    }
    last_arrival_ = now;
    verify_at_ = 0;
    look_at_ = 0;
}

void endpoint::begin_sequence(const endpoint& far) noexcept
{
    if (numbers_) {
        numbers_->arrived.begin(far.numbers_->sent.next());
    }
}

sequence_summary endpoint::sequence(const endpoint& far, std::size_t first,
                                    std::size_t step) const noexcept
{
    return numbers_ ? numbers_->arrived.summary(far.numbers_->sent.next(), first, step)
                    : sequence_summary{};
}

// ---- sending ----

void endpoint::build(std::span<std::byte> frame) const noexcept
{
    build_frame(frame.subspan(outer_), side_, sizes_[size_count_ - 1], form_);
}

bool endpoint::answer(std::byte* frame, std::size_t buffer) noexcept
{
    if (tunnel_->owes_answer()) {
        answered_[buffer] = true;
        counts_.sent -= 1; // as which it is counted
        (void)tunnel_->write_answer(frame);
        return true;
    }
    if (answered_[buffer]) {
        answered_[buffer] = false;
        build({frame, largest_size()});
    }
    return false;
}

void endpoint::take_back(std::span<const std::byte> frame) noexcept
{
    if (tunnel_ && frame.size() == smallest_frame) {
        counts_.sent += 1; // an answer, which is counted as none
        return;
    }
    const std::uint32_t flow = flow_of(frame.data() + outer_ + before_mark_);
    if (!tallies_.empty()) {
        --tallies_[flow % groups_].sent;
    }
    if (numbers_) {
        numbers_->sent.take_back(flow);
    }
}

// ---- what arrives ----

bool endpoint::attribute(const std::byte* frame) noexcept
{
    const std::byte* const marked = frame + before_mark_;
    attributed_ = false;
    if (!has_mark(marked)) {
        stray_ = unmarked_ = paths_ != 0;
        return false;
    }
    const std::uint32_t flow = flow_of(marked);
    if (flow >= (new_share_ != 0 ? most_flows(kind_) : flows_)) {
        return false;
    }
    // What comes back to who sent it has the path's number, too, unless it is a ring's.
    const bool came_back = paths_ != 0 && far_side_ != side_ && is_from(frame, side_);
    stray_ = takes_none_ || came_back || (taken_path_ && flow % paths_ != *taken_path_);
    attributed_ = !stray_;
    if (attributed_) {
        group_ = flow % groups_;
        latency_ = latency_of(group_);
        ++tallies_[group_].received;
    }
    return attributed_;
}

void endpoint::count_stray(std::span<const std::byte> gathered, std::uint32_t bytes,
                           bool partial) noexcept
{
    stray_ = false;
    if (tunnel_) {
        counts_.foreign += tunnel_->owes_answer() ? 0U : 1U;
        return;
    }
    if (unmarked_) {
        unmarked_ = false;
        ++counts_.foreign;
        return;
    }
    // The number that says whose it is may be what was changed on its way; else it is another
    // end's, of either side.
    const bool other_ends = !checks_ ||
                            judge(gathered, partial, far_side_, arriving_) == verdict::good ||
                            judge(gathered, partial, side_, sizes_) == verdict::good;
    if (other_ends) {
        ++counts_.misdelivered;
        return;
    }
    counts_.checked += 1;
    counts_.corrupt += 1;
    counts_.received += 1;
    counts_.received_bytes += bytes;
}

verdict endpoint::judge(std::span<const std::byte> frame, bool partial, side from,
                        std::span<const frame_size> sizes) const noexcept
{
    frame_form form = form_;
    form.partial = partial;
    return check_frame(frame.subspan(outer_),
                       {.from = from,
                        .sizes = sizes.first(size_count_),
                        .kind = kind_,
                        // The other side may have begun flows.
                        .flows = new_share_ != 0 ? most_flows(kind_) : flows_,
                        .turned = turned_,
                        .form = form});
}

bool endpoint::check(std::span<const std::byte> frame, bool partial) noexcept
{
    ++counts_.checked;
    counts_.checksum_left += partial ? 1 : 0;
    if (tunnel_ && !tunnel_->check(frame)) {
        ++counts_.corrupt;
        return false;
    }
    switch (judge(frame, partial, far_side_, arriving_)) {
    case verdict::good:
        return true;
    case verdict::corrupt:
        ++counts_.corrupt;
        if (attributed_) {
            ++tallies_[group_].corrupt;
        }
        return false;
    case verdict::foreign:
        ++counts_.foreign;
        return false;
    }
    return false;
}

std::unique_ptr<endpoint> make_endpoint(std::size_t which, const options& settings)
{
    switch (settings.ends[which].kind) {
    case end_kind::xen:
        return std::make_unique<xen_endpoint>(which, settings);
    case end_kind::nic:
        return std::make_unique<nic_endpoint>(which, settings);
    case end_kind::tap:
        return std::make_unique<tap_endpoint>(which, settings);
    case end_kind::vhost:
    case end_kind::none:
        break;
    }
    return std::make_unique<vhost_endpoint>(which, settings);
}

std::vector<std::unique_ptr<endpoint>> make_endpoints(const options& settings)
{
    std::array<std::shared_ptr<numbers>, 2> of_side;
    for (auto& one : of_side) {
        if (settings.sequence) {
            one = std::make_shared<numbers>(
                numbers{departures{settings.flows_of_a_side()},
                        arrivals{settings.flows_of_a_side(), settings.groups()}});
        }
    }
    std::vector<std::unique_ptr<endpoint>> out;
    for (std::size_t which = 0; which < settings.ends.size(); ++which) {
        out.push_back(make_endpoint(which, settings));
        out.back()->share_numbers(of_side[static_cast<std::size_t>(settings.side_of(which))]);
    }
    return out;
}

} // namespace strait::bench

// SPDX-License-Identifier: BSD-3-Clause
// A frame is written when the rings are handed out; sending it again costs a few stores when flows,
// sizes, numbers or stamps vary.

#include "bench/generator/endpoint.hh"

#include "bench/generator/nic_endpoint.hh"
#include "bench/generator/tap_endpoint.hh"
#include "bench/generator/vhost_endpoint.hh"
#include "bench/generator/xen_endpoint.hh"

#include <algorithm>

namespace strait::bench {

endpoint::endpoint(side which, const options& settings)
    : side_(which),
      stamped_(std::make_unique<bool[]>(std::size_t{settings.queues} * settings.queue_size)),
      turned_(settings.turned),
      kind_(settings.sent_kind()),
      form_(settings.form_of(which)),
      before_mark_(form_.before_mark()),
      flows_(settings.flows_of_a_side()),
      queues_(settings.queues),
      next_new_(flows_),
      verify_every_(settings.verify_every)
{
    if (settings.sequence) {
        departures_.emplace(flows_);
        arrivals_.emplace(flows_);
    }
    const int longer = before_mark_ - settings.form_of(other(which)).before_mark();
    const auto sent = [this](std::uint16_t bytes) { return make_frame_size(bytes, form_, side_); };
    const auto arriving = [this, longer](std::uint16_t bytes) {
        return make_frame_size(static_cast<std::uint16_t>(bytes + longer), form_, other(side_));
    };
    if (settings.frame == 0) {
        size_count_ = imix_sizes.size();
        std::transform(imix_sizes.begin(), imix_sizes.end(), sizes_.begin(), sent);
        std::transform(imix_sizes.begin(), imix_sizes.end(), arriving_.begin(), arriving);
    } else {
        sizes_[0] = sent(settings.frame);
        arriving_[0] = arriving(settings.frame);
    }
    if (const vxlan_place& place = which == side::a ? settings.vxlan_a : settings.vxlan_b;
        place.own != 0) {
        tunnel_.emplace(which, place);
        outer_ = vxlan::header;
        answered_ = std::make_unique<bool[]>(std::size_t{settings.queues} * settings.queue_size);
    }
    writes_flow_ = settings.flows != 0 || flows_ != 1 || settings.rewrite;
    measure_latency(settings.latency);
}

void endpoint::measure_latency(std::uint32_t every) noexcept
{
    stamps_ = every != 0;
    stamp_every_ = until_stamp_ = std::max(every, 1U);
    // With the same stride frames with stamps could be those never looked at.
    look_every_ = every > 1 ? every + 1 : 1;
    reads_ = stamps_ || arrivals_;
    fixed_ = !writes_flow_ && !several_sizes() && !stamps_ && !departures_;
}

void endpoint::start_flows(std::uint32_t flow, std::uint32_t stride) noexcept
{
    next_flow_ = flow % flows_;
    stride_ = stride % flows_;
    order_ = {};
    new_share_ = 0;
    upcoming_.reset();
}

void endpoint::follow(std::span<const std::uint32_t> order, std::size_t first) noexcept
{
    order_ = order;
    next_in_order_ = first;
}

void endpoint::begin_flows(double share) noexcept
{
    new_share_ = static_cast<std::uint64_t>(share * 0x1p32);
    new_due_ = 0;
}

void endpoint::clear(std::uint64_t now) noexcept
{
    counts_ = {};
    latency_->clear();
    last_arrival_ = now;
    verify_at_ = 0;
    look_at_ = 0;
}

void endpoint::begin_sequence(const endpoint& far) noexcept
{
    if (arrivals_) {
        arrivals_->begin(far.departures_->next());
    }
}

sequence_summary endpoint::sequence(const endpoint& far) const noexcept
{
    return arrivals_ ? arrivals_->summary(far.departures_->next()) : sequence_summary{};
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

bool endpoint::check(std::span<const std::byte> frame, bool partial) noexcept
{
    ++counts_.checked;
    frame_form form = form_;
    form.partial = partial;
    if (tunnel_ && !tunnel_->check(frame)) {
        ++counts_.corrupt;
        return false;
    }
    switch (
        check_frame(frame.subspan(outer_), {.from = other(side_),
                                            .sizes = {arriving_.data(), size_count_},
                                            .kind = kind_,
                                            // The other side may have begun flows.
                                            .flows = new_share_ != 0 ? most_flows(kind_) : flows_,
                                            .turned = turned_,
                                            .form = form})) {
    case verdict::good:
        return true;
    case verdict::corrupt:
        ++counts_.corrupt;
        return false;
    case verdict::foreign:
        ++counts_.foreign;
        return false;
    }
    return false;
}

std::unique_ptr<endpoint> make_endpoint(side which, const options& settings)
{
    switch ((which == side::a ? settings.end_a : settings.end_b).kind) {
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

} // namespace strait::bench

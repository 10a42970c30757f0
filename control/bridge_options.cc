// SPDX-License-Identifier: BSD-3-Clause
// Which options of Geneve a bridge's flows and groups have in their matches and actions.
#include "control/bridge_flows.hh"

#include <cstdint>
#include <variant>

namespace strait::control {

using flow::field;
using flow::subfield;

namespace {

// A bit for each option that actions name.
class option_finder {
public:
    explicit option_finder(const flow::option_map& known) noexcept : known_{known} {}

    void look(const flow::action_list& actions)
    {
        for (const flow::action& a : actions) {
            std::visit(*this, a.is);
        }
    }
    [[nodiscard]] std::uint64_t found() const noexcept { return found_; }

    void operator()(const flow::set_field& a)
    {
        found_ |= a.of == field::tun_present ? a.mask.low : 0;
        look(subfield::whole(a.of));
    }
    void operator()(const flow::move_field& a)
    {
        look(a.from);
        look(a.to);
    }
    void operator()(const flow::output_field& a) { look(a.port); }
    void operator()(const flow::check_pkt_larger& a) { look(a.to); }
    void operator()(const flow::stack_push& a) { look(a.from); }
    void operator()(const flow::stack_pop& a) { look(a.to); }
    void operator()(const flow::clone& a) { look(a.actions); }
    void operator()(const flow::write_actions& a) { look(a.actions); }
    void operator()(const flow::ct& a)
    {
        if (const auto* const zone = std::get_if<subfield>(&a.zone)) {
            look(*zone);
        }
        look(a.exec);
    }
    template <typename Other>
    void operator()(const Other& /*a*/)
    {}

private:
    void look(const subfield& s)
    {
        const flow::option* const o = flow::is_option_data(s.of) ? known_.owner_of(s.of) : nullptr;
        found_ |= o != nullptr ? o->present_bit().low : 0;
    }

    const flow::option_map& known_;
    std::uint64_t found_{0};
};

} // namespace

bridge_flows::option_references bridge_flows::count_options() const
{
    option_references out{};
    if (!options_) {
        return out;
    }
    const auto count = [&out, this](const flow::action_list& actions, std::uint64_t matched) {
        option_finder finder{*options_};
        finder.look(actions);
        for (const flow::option& o : options_->all()) {
            out[o.index] += ((finder.found() | matched) & o.present_bit().low) != 0 ? 1U : 0U;
        }
    };
    for_each_in_no_order([&count](const flow::rule& r) {
        count(r.actions(), r.match().mask.number(field::tun_present));
    });
    groups_.for_each([&count](const flow::bucket_group& g) {
        for (const flow::bucket& b : g.buckets()) {
            count(b.actions, 0);
        }
    });
    return out;
}

} // namespace strait::control
